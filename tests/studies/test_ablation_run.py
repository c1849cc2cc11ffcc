"""The ablation with real trainings of a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import changed
from pydantic import ValidationError

from diffucoder.config.ablation import BUDGETS, AblationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate
from diffucoder.errors import BadData, BadParameters
from diffucoder.studies.ablation import Curves, PassRates, Summary, figure, summary
from diffucoder.studies.ablation_cells import cell_params, forwards_per_step
from diffucoder.studies.ablation_run import evaluate_cells, train_cells

Parameters = Callable[..., dict[str, Any]]
CELLS = {
    "coupled": {"estimator": None, "objective": None, "advantages": {}},
    "d1-wd1": {
        "estimator": {"name": "full_mask", "prompt_masking": 0.15},
        "objective": {"name": "wd1"},
        "advantages": {"baseline": "group_mean"},
    },
}


@pytest.fixture
def grpo(parameters: Parameters) -> GrpoParams:
    short = {"max_new_tokens": 12, "steps": 4}
    changes = {
        f"{decoding}.{key}": value
        for decoding in ("decoding", "validation.decoding")
        for key, value in short.items()
    }
    return GrpoParams(**changed(parameters("test", "grpo"), changes))


def small(parameters: Parameters, work: Path, **changes: Any) -> AblationParams:
    read = parameters("test", "ablation", work=str(work), cells=CELLS, seeds=[0], steps=1) | changes
    return AblationParams(**changed(read, {"decoding.max_new_tokens": 12, "decoding.steps": 4}))


@pytest.fixture
def problems(parameters: Parameters) -> pd.DataFrame:
    drawn = generate(ProblemsParams(**parameters("test", "problems")), seed=0)
    # Short enough for a model with a context of 64 tokens.
    return pd.DataFrame([problem.record() for problem in drawn]).assign(prompt="add 1")


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_cell_of_every_environment_can_be_trained(parameters: Parameters, env: str) -> None:
    ablation, grpo = AblationParams(**parameters(env, "ablation")), parameters(env, "grpo")
    for label in ablation.cells:
        for budget in BUDGETS:
            cell_params(ablation, GrpoParams(**grpo), label, 0, budget)


@pytest.mark.slow
def test_cells_are_trained_once_measured_and_compared(
    parameters: Parameters,
    grpo: GrpoParams,
    problems: pd.DataFrame,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    ablation = small(parameters, tmp_path / "work", steps=4)
    curves = Curves.validate(train_cells(ablation, grpo, checkpoint, problems))
    assert set(curves["cell"]) == set(CELLS)
    rewards = curves[curves["name"] == "reward/total"].groupby(["cell", "budget"])["forwards"].max()
    # 4 steps of sampling; coupled scores 2 new, 1 old and 2 reference estimates of 3 passes: what
    # d1-wd1 needs for 4 steps pays for one of coupled's.
    assert rewards.to_dict() == {
        ("coupled", "equal steps"): 4 * (4 + 5 * 3),
        ("coupled", "equal compute"): 4 + 5 * 3,
        ("d1-wd1", "equal steps"): 4 * (4 + 2 * 1),
        ("d1-wd1", "equal compute"): 4 * (4 + 2 * 1),
    }

    logs = sorted((tmp_path / "work").glob("*/0-*/worker.log"))
    before = [log.stat().st_mtime_ns for log in logs]
    assert len(logs) == 3
    pd.testing.assert_frame_equal(train_cells(ablation, grpo, checkpoint, problems), curves)
    assert [log.stat().st_mtime_ns for log in logs] == before, "finished cells are kept"

    passes = PassRates.validate(evaluate_cells(ablation, grpo, 0, checkpoint, problems, curves))
    assert set(passes["cell"]) == {"start", *CELLS}
    assert passes.groupby(["cell", "budget"])["problem_id"].nunique().to_list() == [2] * 6
    Summary.validate(summary(curves, passes, ablation.window, ablation.bootstrap, 0))
    drawn = figure(curves, ablation.window, ablation.bootstrap, 0)
    assert [trace.name for trace in drawn.data if trace.name] == [*CELLS]


def test_cells_that_make_no_sense_are_refused_before_any_is_trained(
    parameters: Parameters,
    grpo: GrpoParams,
    problems: pd.DataFrame,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    wrong = CELLS | {"bad": CELLS["d1-wd1"] | {"objective": {"name": "spg"}}}
    ablation = small(parameters, tmp_path / "work", cells=wrong)
    with pytest.raises(BadParameters, match=r"ablation.cells.bad: .*spg cannot go with estimator"):
        train_cells(ablation, grpo, checkpoint, problems)
    misspelt = {"odd": CELLS["coupled"] | {"estimator": {"nam": "coupled"}}}
    with pytest.raises(ValidationError, match=r"odd.estimator\n  expected estimator options"):
        small(parameters, tmp_path / "work", cells=misspelt)
    misspelt = {"odd": CELLS["coupled"] | {"advantages": {"base": "group_mean"}}}
    ablation = small(parameters, tmp_path / "work", cells=misspelt)
    with pytest.raises(BadParameters, match=r"ablation.cells.odd: advantages.base"):
        train_cells(ablation, grpo, checkpoint, problems)
    ablation = small(parameters, tmp_path / "work", steps=4)
    with pytest.raises(BadData, match="is of split 'validation'"):
        train_cells(ablation, grpo, checkpoint, problems[problems["split"] == "rl"])
    ablation = small(parameters, tmp_path / "work", steps=1)
    with pytest.raises(BadParameters, match=r"ablation.cells.coupled: training.steps"):
        train_cells(ablation, grpo, checkpoint, problems)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": {"a/b": CELLS["coupled"]}}, "should match pattern"),
        ({"cells": {"start": CELLS["coupled"]}}, "cannot be called 'start'"),
        ({"seeds": [1, 1]}, "seeds must differ"),
    ],
)
def test_bad_grids_are_named(
    parameters: Parameters, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        small(parameters, tmp_path, **changes)


def test_cost_counts_every_policy_that_is_scored(parameters: Parameters, grpo: GrpoParams) -> None:
    def cost(objective: dict[str, Any], inner: int) -> int:
        cell = {"estimator": {"name": "coupled"}, "objective": objective, "advantages": {}}
        ablation = small(parameters, Path("unused"), cells={"one": cell})
        changed = grpo.model_copy(update={"num_iterations": inner})
        return forwards_per_step(cell_params(ablation, changed, "one", 0, "equal steps"))

    assert cost({"name": "grpo"}, 1) == 4 + (1 + 0 + 1) * 3
    assert cost({"name": "grpo", "beta": 0.0}, 3) == 4 + (3 + 2) * 3
    assert cost({"name": "wd1"}, 3) == 4 + 3 * 3
