import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.problems import HardSplitParams, ProblemFileParams, Split
from diffucoder.data.problem_files import hard_split, read_problems, require_disjoint
from diffucoder.data.problems import Problem
from diffucoder.errors import BadData

OWN = {
    "problem_id": "p1",
    "prompt": "Return one.",
    "entry_point": "one",
    "reference": "def one():\n    return 1\n",
    "tests": ["assert one() == 1"],
    "pass_rates": [0.5, 0.25],
}
ACECODE = {
    "id": "ace1",
    "source": "oss",
    "question": "Write `double`.",
    "test_cases": ["assert double(2) == 4", "assert double(0) == 0"],
    "inferences": [
        {"model_name": "a", "pass_rate": 0.5},
        {"model_name": "b", "pass_rate": 1.0},
    ],
    "context_messages": [],
}


def write(path: Path, rows: list[dict[str, Any]]) -> ProblemFileParams:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ProblemFileParams(path=str(path), split="rl", hard=None)


def problem(
    name: str, rates: tuple[float, ...] = (), split: Split = "rl", composition: str | None = None
) -> Problem:
    return Problem(
        problem_id=name,
        source="test",
        split=split,
        composition=composition or name,
        prompt="p",
        entry_point="f",
        reference="",
        tests=["assert f()"],
        pass_rates=list(rates),
    )


def test_parquet_and_jsonl_hold_the_same_problems(tmp_path) -> None:
    pd.DataFrame([OWN]).to_parquet(tmp_path / "a.parquet")
    from_parquet = read_problems(ProblemFileParams(path=str(tmp_path / "a.parquet"), split="rl"))
    from_jsonl = read_problems(write(tmp_path / "a.jsonl", [OWN]))
    for [read], name in ((from_parquet, "a.parquet"), (from_jsonl, "a.jsonl")):
        assert read == Problem(
            **OWN, source=str(tmp_path / name), split="rl", composition="p1", check=""
        )


def test_acecode_rows_are_problems_without_a_reference(tmp_path) -> None:
    [read] = read_problems(write(tmp_path / "a.jsonl", [ACECODE]))
    assert (read.problem_id, read.entry_point, read.reference) == ("ace1", "double", "")
    assert read.tests == ACECODE["test_cases"]
    assert read.pass_rates == [0.5, 1.0]


def test_published_benchmarks_are_problem_files(benchmarks_dir) -> None:
    counts = {"HumanEval.jsonl.gz": 164, "mbpp.jsonl": 974, "sanitized-mbpp.json": 427}
    for name, count in counts.items():
        path = str(benchmarks_dir / name)
        problems = read_problems(ProblemFileParams(path=path, split="eval", hard=None))
        assert len(problems) == count
        assert all(f"def {p.entry_point}" in p.reference for p in problems)
        assert all(bool(p.tests) != bool(p.check) for p in problems)


def test_tests_bring_what_they_lean_on_so_that_no_candidate_can(tmp_path) -> None:
    humaneval = {
        "task_id": "HumanEval/1",
        "prompt": "import math\ndef shift(s): return s\ndef back(s):\n    '''Undo it.'''\n",
        "entry_point": "back",
        "canonical_solution": "    return s\n",
        "test": "def check(candidate): assert candidate(shift('a')) == 'a'\n",
    }
    mbpp = {
        "task_id": 7,
        "text": "Sum a pair.",
        "code": "def helper(p): return p\r\ndef total(p): return sum(p)",
        "test_setup_code": "pair = (1, 2)",
        "test_list": ["assert total(pair) == 3"],
    }
    [first] = read_problems(write(tmp_path / "a.jsonl", [humaneval]))
    assert "def shift" in first.check
    assert "def back" not in first.check
    [second] = read_problems(write(tmp_path / "b.jsonl", [mbpp]))
    assert second.tests == ["pair = (1, 2)\nassert total(pair) == 3"]
    assert (second.entry_point, second.reference) == (
        "total",
        "def helper(p): return p\ndef total(p): return sum(p)",
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "?"}], r"row 0 has the columns \['question'\]"),
        ([OWN, OWN], "'p1' comes twice"),
        ([OWN | {"tests": []}], "neither"),
        ([OWN | {"check": "def check(c): pass"}], "both"),
        ([ACECODE | {"test_cases": ["assert True"]}], "calls no function"),
        ([ACECODE | {"test_cases": ["assert ("]}], "row 0 cannot be used"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, rows, message) -> None:
    with pytest.raises(BadData, match=message):
        read_problems(write(tmp_path / "a.jsonl", rows))


def test_the_hard_split_keeps_low_means_with_high_deviations() -> None:
    # Means 0, .1, .3, .5, .9; deviations 0, .1, .3, .1, .1.
    rates = {"a": (0, 0), "b": (0, 0.2), "c": (0, 0.6), "d": (0.4, 0.6), "e": (0.8, 1)}
    problems = [problem(name, values) for name, values in rates.items()]
    params = HardSplitParams(mean_percentile=50, std_percentile=40)
    assert [p.problem_id for p in hard_split(problems, params)] == ["b", "c"]
    everything = HardSplitParams(mean_percentile=100, std_percentile=0)
    assert hard_split(problems, everything) == problems


def test_the_hard_split_needs_pass_rates() -> None:
    params = HardSplitParams(mean_percentile=20, std_percentile=40)
    with pytest.raises(BadData, match="'b'"):
        hard_split([problem("a", (0, 1)), problem("b", (0,))], params)


def test_a_composition_in_two_splits_is_refused() -> None:
    require_disjoint([problem("a"), problem("b", composition="a")])
    with pytest.raises(BadData, match=r"composition 'a'.*'rl' and 'heldout'"):
        require_disjoint([problem("a"), problem("b", split="heldout", composition="a")])


def test_an_id_in_two_files_is_refused() -> None:
    with pytest.raises(BadData, match="'a' comes from two files"):
        require_disjoint([problem("a"), problem("a")])
