"""Estimates and orders against values worked by hand."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation import measures

KEYS = ["checkpoint", "suite", "decoding"]


def test_pass_at_k_is_the_mean_over_problems(
    make_row: Callable[..., dict[str, Any]], bootstrap: BootstrapParams
) -> None:
    passed = {"p0": [True, False], "p1": [False, False], "p2": [True, True]}
    rows = [
        make_row(problem_id=problem, sample=sample, passed=value)
        for problem, values in passed.items()
        for sample, value in enumerate(values)
    ]
    found = measures.estimate_pass_at_k(pd.DataFrame(rows), [1, 2, 3], bootstrap, seed=0, keys=KEYS)
    assert list(found["k"]) == [1, 2]  # nobody has three samples
    assert found["mean"].tolist() == pytest.approx([0.5, 2 / 3])
    assert (found["low"] <= found["mean"]).all()
    assert (found["mean"] <= found["high"]).all()
    assert found[["n_problems", "n_samples"]].to_numpy().tolist() == [[3, 2], [3, 2]]


def test_k_is_limited_by_the_problem_with_the_fewest_samples(
    make_row: Callable[..., dict[str, Any]], bootstrap: BootstrapParams
) -> None:
    rows = [make_row(sample=0), make_row(sample=1), make_row(problem_id="p1")]
    found = measures.estimate_pass_at_k(pd.DataFrame(rows), [1, 2], bootstrap, seed=0, keys=KEYS)
    assert list(found["k"]) == [1]


def test_estimates_of_nothing_are_an_empty_table(
    completions: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    found = measures.estimate_pass_at_k(completions.iloc[:0], [1], bootstrap, seed=0, keys=KEYS)
    assert found.empty
    assert "mean" in found.columns


def test_left_to_right_scores_one_and_its_mirror_less(sweep: pd.DataFrame) -> None:
    found = measures.completion_orders(measures.full_steps(sweep), [1])
    by_temperature = found.groupby(["kind", "temperature"])["value"].mean()
    assert by_temperature["local", 0.2] == 1
    assert by_temperature["global", 0.2] == 1
    assert by_temperature["local", 1.0] == 0
    # Three masks left, then two, then one: only the last reveal is the left-most mask.
    assert by_temperature["global", 1.0] == pytest.approx(1 / 3)


def test_the_steps_after_a_completion_do_not_count(
    make_row: Callable[..., dict[str, Any]],
) -> None:
    # Filler was revealed at steps 0 and 1; the completion itself went left to right.
    row = make_row(reveal_step=[2, 3, 5])
    found = measures.completion_orders(pd.DataFrame([row]), [1])
    assert found["value"].tolist() == [1.0, 1.0]


def test_completions_without_an_order_are_left_out(
    make_row: Callable[..., dict[str, Any]],
) -> None:
    row = make_row(length=1, reveal_step=[0])
    assert measures.completion_orders(pd.DataFrame([row]), [1]).empty


def test_summary_of_orders_counts_completions_and_problems(
    sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    values = measures.completion_orders(measures.full_steps(sweep), [1])
    found = measures.summarise_orders(values, bootstrap, seed=0)
    assert len(found) == 2 * 2 * 2  # checkpoints, temperatures, kinds
    assert set(found["n_problems"]) == {6}
    assert set(found["n_completions"]) == {12}
