"""The table of a long run, from rollouts and metrics counted by hand."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def stability(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("stability")


def test_a_row_counts_what_was_passed_and_what_was_paid_for_nothing(stability: ModuleType) -> None:
    rollouts = pd.DataFrame(
        [
            # step, problem, completion, format, pass rate, status
            [1, "a", "x", 1.0, 1.0, "passed"],
            [1, "a", "y", 1.0, 0.0, "failed"],
            [2, "a", "x", 0.5, 0.0, "error"],
            [2, "a", "x", 1.0, 0.5, "failed"],
            [3, "b", "x", 1.0, 1.0, "passed"],
            [3, "b", "x", 1.0, 1.0, "passed"],
        ],
        columns=["step", "problem_id", "completion", "reward_format", "pass_rate", "status"],
    )
    metrics = pd.DataFrame(
        [
            [0, "validation/pass_rate", 0.1],
            *[[step, "kl", value] for step, value in ((1, 0.5), (2, 9.5), (3, 0.25))],
            *[[step, "clip_ratio", 0.1 * step] for step in (1, 2, 3)],
            *[[step, "frac_reward_zero_std", 0.5] for step in (1, 2, 3)],
            [2, "validation/pass_rate", 0.25],
            [3, "validation/pass_rate", 0.75],
        ],
        columns=["step", "name", "value"],
    )
    rows = stability.table(rollouts, metrics, steps=2)
    assert rows.index.to_list() == [2, 4]
    assert rows["passed"].to_list() == [0.25, 1.0]
    assert rows["format"].to_list() == [0.875, 1.0]
    assert rows["unearned"].to_list() == [0.25, 0.0]
    assert rows["distinct"].to_list() == [1.5, 1.0]
    assert rows["kl"].to_list() == [5.0, 0.25]
    assert rows["clip_ratio"].to_list() == pytest.approx([0.15, 0.3])
    assert rows["validation"].to_list() == [0.25, 0.75]
    assert "| 2 | 25.0% | 0.875 | 25.0% | 1.50 | 5.000 | 15.00% | 50.0% | 25.0% |" in (
        stability.markdown(rows)
    )
