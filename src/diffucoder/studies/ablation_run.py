"""The ablation's trainings, and the measurement of their models."""

from itertools import product
from pathlib import Path

import pandas as pd

from diffucoder.config.ablation import BUDGETS, START, AblationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.stage import MODEL, new_job, train
from diffucoder.errors import BadData
from diffucoder.evaluation.completions import GenerationParams, generate_completions
from diffucoder.evaluation.requests import evenly_spaced, problems_by_key, request_table
from diffucoder.evaluation.scoring import score
from diffucoder.evaluation.suites import HELD_OUT
from diffucoder.rl.tables import write_problems
from diffucoder.sandbox import Sandbox
from diffucoder.studies.ablation_cells import cell_params, forwards_per_step
from diffucoder.tracking import child_run

WORKER = "diffucoder.training.grpo"


def train_cells(
    ablation: AblationParams, grpo: GrpoParams, instruct: Path, problems: pd.DataFrame
) -> pd.DataFrame:
    """Train from one instruct model with each cell and seed; a finished training is kept.

    Cells that cost more forward passes per step than the cheapest are trained once more, for as
    many steps as the cheapest one's passes pay for, each on its own schedule. Each is a child run
    in MLflow. Trainings of one seed meet the same problems in the same order, and the same random
    numbers as far as they draw alike.

    Args:
        ablation: The ablation's parameters.
        grpo: The stage that cells vary.
        instruct: Directory of the checkpoint that all trainings start from.
        problems: The problem table.

    Returns:
        `Curves` of `diffucoder.studies.ablation`.

    Raises:
        BadParameters: For a cell that makes no sense, before any is trained.
        BadData: If there are no problems to train on or to validate with.
        TrainingFailed: If a training ends early; the next run goes on there.
    """
    trainings = {
        (label, seed, budget): cell_params(ablation, grpo, label, seed, budget)
        for label in ablation.cells
        for seed in ablation.seeds
        for budget in BUDGETS
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
    curves: pd.DataFrame,
) -> pd.DataFrame:
    """Measure how often the models of all trainings solve each held-out problem.

    The instruct model that all started from is asked too, under the label `start`.

    Args:
        ablation: The ablation's parameters.
        grpo: The stage that cells vary.
        seed: Random seed of the sampling, the same for all trainings.
        instruct: Directory of the checkpoint that all trainings started from.
        problems: The problem table.
        curves: Table of `Curves`, which tells which trainings are done.

    Returns:
        `PassRates` of `diffucoder.studies.ablation`.

    Raises:
        BadData: If there is no held-out problem.
        SandboxUnavailable: If programs cannot be run safely on this machine.
        TrainingFailed: If decoding fails.
    """
    heldout = evenly_spaced(problems[problems["split"] == HELD_OUT], ablation.problems)
    if heldout.empty:
        raise BadData("problems: none is of split `heldout`, with which the ablation measures")
    trained = list(curves[["cell", "seed", "budget"]].drop_duplicates().itertuples(index=False))
    works = {
        (label, number, budget): Path(cell_params(ablation, grpo, label, number, budget).work)
        for label, number, budget in trained
    }
    checkpoints = {str(work): work / MODEL for work in works.values()} | {START: instruct}
    asked = [
        request_table(HELD_OUT, heldout, name, "sampled", ablation.samples) for name in checkpoints
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
        completions = score(completions, problems_by_key({HELD_OUT: heldout}), sandbox)
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
