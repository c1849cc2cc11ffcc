"""The ablation's nodes: train every cell with every seed, measure, compare."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from pydantic import ValidationError

from diffucoder.config.ablation import BUDGETS, EQUAL_COMPUTE, EQUAL_STEPS, START, AblationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.stage import MODEL, new_job, train
from diffucoder.errors import BadData, BadParameters
from diffucoder.evaluation.requests import evenly_spaced, problems_by_key, request_table
from diffucoder.pipelines.grpo.nodes import WORKER, write_problems


def train_cells(
    ablation: AblationParams, grpo: GrpoParams, instruct: Path, problems: pd.DataFrame
) -> pd.DataFrame:
    """Train from one instruct model with each cell and seed; a finished training is kept.

    Cells that cost more forward passes a step than the cheapest are trained once more, for as
    many steps as the cheapest one's passes pay for, each on its own schedule. Each is a child run
    in MLflow. Trainings of one seed meet the same problems in the same order, and the same random
    numbers as far as they draw alike.

    Args:
        ablation: the parameters.
        grpo: the stage that cells vary.
        instruct: checkpoint directory.
        problems: the problem table.

    Returns:
        `Curves` of `diffucoder.studies.ablation`.

    Raises:
        BadParameters: for a cell that makes no sense, before any is trained.
        BadData: if there are no problems to train on or to validate with.
        TrainingFailed: if a training ends early; the next run goes on there.
    """
    trainings = {
        (label, seed, budget): cell_params(ablation, grpo, label, seed, budget)
        for label in ablation.cells
        for seed in ablation.seeds
        for budget in (EQUAL_STEPS, EQUAL_COMPUTE)
    }
    table = write_problems(problems, Path(ablation.work))
    curves = []
    for (label, seed, budget), params in trainings.items():
        # The cheapest cell's training at equal compute is the one at equal steps: it is kept.
        inputs = {"instruct": instruct, "problems": table}
        job = new_job("grpo", params, inputs, params.work, seed)
        name = f"ablation: {label}, seed {seed}, {params.training.steps} steps"
        metrics = train(job, WORKER, params.training.engine, name)
        passes = metrics["step"] * forwards_per_step(params)
        curves.append(metrics.assign(cell=label, seed=seed, budget=budget, forwards=passes))
    return pd.concat(curves, ignore_index=True)


def evaluate_cells(
    ablation: AblationParams,
    grpo: GrpoParams,
    seed: int,
    instruct: Path,
    problems: pd.DataFrame,
    ablation_curves: pd.DataFrame,
) -> pd.DataFrame:
    """Share of sampled completions of each held-out problem that pass, for each training.

    The instruct model that all started from is asked too, under the label `start`.

    Args:
        ablation: the parameters.
        grpo: the stage that cells vary.
        seed: of the sampling, the same for all trainings.
        instruct: checkpoint directory.
        problems: the problem table.
        ablation_curves: of the trainings, which says that they are done.

    Returns:
        `PassRates` of `diffucoder.studies.ablation`.

    Raises:
        BadData: if there is no held-out problem.
        SandboxUnavailable: if programs cannot be run safely on this machine.
        TrainingFailed: if decoding fails.
    """
    from diffucoder.evaluation.completions import GenerationParams, generate_completions
    from diffucoder.evaluation.scoring import score
    from diffucoder.sandbox import Sandbox
    from diffucoder.tracking import child_run

    heldout = evenly_spaced(problems[problems["split"] == "heldout"], ablation.problems)
    if heldout.empty:
        raise BadData("problems: none is of split `heldout`, with which the ablation measures")
    trained = list(
        ablation_curves[["cell", "seed", "budget"]].drop_duplicates().itertuples(index=False)
    )
    works = {
        (label, number, budget): Path(cell_params(ablation, grpo, label, number, budget).work)
        for label, number, budget in trained
    }
    checkpoints = {str(work): work / MODEL for work in works.values()} | {START: instruct}
    asked = [
        request_table("heldout", heldout, name, "sampled", ablation.samples) for name in checkpoints
    ]
    with (
        Sandbox(**ablation.sandbox.options()) as sandbox,
        child_run("ablation: held-out", ablation.model_dump(mode="json")) as environment,
    ):
        completions, _ = generate_completions(
            pd.concat(asked, ignore_index=True),
            checkpoints,
            GenerationParams(decodings={"sampled": ablation.decoding}, engine=ablation.engine),
            "ablation",
            Path(ablation.work) / "heldout",
            seed,
            environment,
        )
        completions = score(completions, problems_by_key({"heldout": heldout}), sandbox)
    shares = completions.groupby(["checkpoint", "problem_id"], sort=False)["passed"].mean()
    rows = [
        {
            "cell": label,
            "seed": number,
            "budget": budget,
            "problem_id": problem,
            "passed": float(share),
        }
        for name, (label, number, budget) in [
            *((str(works[training]), training) for training in trained),
            *((START, (START, *rest)) for rest in product(ablation.seeds, BUDGETS)),
        ]
        for problem, share in shares[name].items()
    ]
    return pd.DataFrame(rows)


def compare_cells(
    ablation: AblationParams,
    seed: int,
    ablation_curves: pd.DataFrame,
    ablation_pass_rates: pd.DataFrame,
) -> "tuple[pd.DataFrame, go.Figure]":
    """pass@1 and rewards with intervals, at equal steps and at equal compute; reward curves."""
    from diffucoder.studies.ablation import figure, summary

    compared = summary(
        ablation_curves, ablation_pass_rates, ablation.window, ablation.bootstrap, seed
    )
    return compared, figure(ablation_curves, ablation.window, ablation.bootstrap, seed)


def cell_params(
    ablation: AblationParams, grpo: GrpoParams, label: str, seed: int, budget: str
) -> GrpoParams:
    """The parameters of one training.

    Args:
        ablation: the parameters.
        grpo: the stage that cells vary.
        label: of the cell.
        seed: of the training.
        budget: `equal steps`, or `equal compute`: as many steps as take the forward passes that the
            cheapest cell needs for all of its steps.

    Raises:
        BadParameters: if a cell's changes make no sense, naming it, or if the steps that a cell
            can pay are none.
    """
    params = {name: _changed(ablation, grpo, name) for name in ablation.cells}
    own = params[label]
    steps = own.training.steps
    if budget == EQUAL_COMPUTE:
        budget = min(forwards_per_step(cell) for cell in params.values()) * steps
        steps = budget // forwards_per_step(own)
    tree = own.model_dump()
    tree["work"] = str(folder_of(ablation, label, seed, steps))
    tree["training"]["steps"] = steps
    return _checked(label, tree)


def _changed(ablation: AblationParams, grpo: GrpoParams, label: str) -> GrpoParams:
    """The parameters of a cell, without the folder of a training."""
    cell, tree = ablation.cells[label], grpo.model_dump()
    if cell.estimator is not None:
        tree["estimator"] = cell.estimator.model_dump()
    if cell.objective is not None:
        tree["objective"] = cell.objective.model_dump()
    tree["advantages"] |= cell.advantages
    if ablation.steps is not None:
        tree["training"]["steps"] = ablation.steps
    return _checked(label, tree)


def _checked(label: str, tree: Mapping[str, Any]) -> GrpoParams:
    try:
        return GrpoParams.model_validate(tree)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, details['loc']))}: {details['msg']}" for details in error.errors()
        ]
        raise BadParameters(f"ablation.cells.{label}: {'; '.join(wrong)}") from error


def folder_of(ablation: AblationParams, label: str, seed: int, steps: int) -> Path:
    """Where one training works."""
    return Path(ablation.work) / label / f"{seed}-{steps}"


def forwards_per_step(params: GrpoParams) -> int:
    """Forward passes that each completion of a step costs: to sample it and to score it."""
    from diffucoder.rl import estimators, objectives

    estimator = estimators.make(params.estimator, mask_token_id=0, steps=params.decoding.steps)
    objective = objectives.make(params.objective)
    calls = sum(
        _calls(params.num_iterations, objective.needs_old_logprobs, objective.needs_reference)
    )
    return params.decoding.steps + calls * estimator.forwards


def _calls(iterations: int, needs_old: bool, needs_reference: bool) -> Iterator[int]:
    """Calls of the estimator on the new, the old and the reference policy."""
    yield iterations
    # In the first iteration the new policy is the old one.
    yield iterations - 1 if needs_old else 0
    yield iterations if needs_reference else 0
