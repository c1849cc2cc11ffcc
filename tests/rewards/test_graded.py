"""Graded feedback over verdicts of real programs."""

import pytest

from diffucoder.config.rewards import RewardParams
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.functions import RewardRecord, score
from diffucoder.rewards.graded import coarse, fault_penalties, graded, line_at_fault
from diffucoder.rewards.spans import lines_of_tokens, token_spans
from diffucoder.sandbox import Program, Sandbox

TESTS = ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9", "assert f(4) == 16"]
COMPLETIONS = {
    "none": "f is the square",
    "syntax": "```python\ndef f(x) return x\n```",
    "raises": "```python\ndef f(x):\n    y = x * x\n    return y / 0\n```",
    "hangs": "```python\ndef f(x):\n    while True:\n        pass\n```",
    "wrong": "```python\ndef f(x):\n    return x\n```",
    "half": "```python\ndef f(x):\n    return x * x if x < 3 else 0\n```",
    "right": "```python\ndef f(x):\n    return x * x\n```",
}


@pytest.fixture(scope="module")
def records() -> dict[str, RewardRecord]:
    codes = {name: extract_code(text) for name, text in COMPLETIONS.items()}
    with Sandbox(workers=1, wall_s=0.5, cpu_s=2.0, max_timeouts=1) as sandbox:
        verdicts = sandbox.run([Program(code or "", TESTS, "f") for code in codes.values()])
    return {
        name: RewardRecord("square", COMPLETIONS[name], codes[name], verdict)
        for name, verdict in zip(codes, verdicts, strict=True)
    }


def test_grades_rise_from_compiling_to_passing(records: dict[str, RewardRecord]) -> None:
    assert {name: coarse(record) for name, record in records.items()} == {
        "none": -1.0,
        "syntax": -1.0,
        "raises": -0.6,
        "hangs": -0.6,
        "wrong": -0.3,
        "half": -0.3,
        "right": 1.0,
    }


def test_wrong_results_are_graded_by_how_many_are_right(records: dict[str, RewardRecord]) -> None:
    grades = {name: graded(record) for name, record in records.items()}
    assert grades["wrong"] == pytest.approx(-0.3 + 1.3 / 4)
    assert grades["half"] == pytest.approx(-0.3 + 1.3 / 2)
    assert {name: grades[name] for name in ("none", "raises", "right")} == {
        "none": -1.0,
        "raises": -0.6,
        "right": 1.0,
    }


def test_a_run_can_name_it_as_its_reward(records: dict[str, RewardRecord]) -> None:
    terms = {"graded": {"function": "diffucoder.rewards.graded.graded", "weight": 2.0}}
    totals, _ = score(list(records.values()), RewardParams.model_validate({"terms": terms}))
    assert totals == pytest.approx([2 * graded(record) for record in records.values()])


def test_the_line_at_fault_is_blamed(records: dict[str, RewardRecord]) -> None:
    assert line_at_fault(records["raises"]) == 3
    assert line_at_fault(records["wrong"]) is None and line_at_fault(records["right"]) is None
    assert fault_penalties(records["raises"], [None, 1, 2, 2, 3, 3, None]) == [
        0, 0, 0, 0, -0.3, -0.3, 0,
    ]  # fmt: skip
    assert fault_penalties(records["wrong"], [1, 2]) == [0, 0]
    assert fault_penalties(records["none"], [None]) == [0]


def test_an_error_without_a_place_blames_all_of_the_code(
    records: dict[str, RewardRecord],
) -> None:
    hangs = records["hangs"]
    assert line_at_fault(hangs) is None
    assert fault_penalties(hangs, [None, 1, 2, None]) == [0, -0.3, -0.3, 0]


def test_penalties_reach_the_tokens_of_the_line(records: dict[str, RewardRecord]) -> None:
    text = COMPLETIONS["raises"]
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    lines = lines_of_tokens(text, records["raises"].code, token_spans(pieces))
    blamed = "".join(
        piece
        for piece, penalty in zip(pieces, fault_penalties(records["raises"], lines), strict=True)
        if penalty
    )
    assert "return y / 0" in blamed and "x * x" not in blamed
