import ast
import sys

import pytest

from diffucoder.errors import BadData
from diffucoder.rewards.stepcoder import executed_mask, next_stage, statements, subtask

REFERENCE = """\
def f(xs):
    total = 0
    for x in xs:
        if x > 0:
            total += x
        else:
            total -= x
    return total
"""


def test_stages_ask_for_ever_more_and_in_the_end_for_all() -> None:
    tasks = [subtask(REFERENCE, stage, 4) for stage in (1, 2, 3, 4)]
    assert all(task.given + task.wanted == REFERENCE for task in tasks)
    assert tasks[0].wanted == "    return total\n"
    lengths = [len(task.wanted) for task in tasks]
    assert lengths == sorted(set(lengths)) and lengths[-1] == len(REFERENCE)
    assert subtask(REFERENCE, 1, 1).given == ""


@pytest.mark.parametrize("stages", [2, 3, 5, 20])
def test_cuts_lie_before_statements(stages: int) -> None:
    starts = {first for first, _, _ in statements(ast.parse(REFERENCE))}
    for stage in range(1, stages + 1):
        assert subtask(REFERENCE, stage, stages).given.count("\n") + 1 in starts


def test_a_stage_is_left_when_it_is_mastered() -> None:
    assert next_stage(1, 3, pass_rate=0.5, threshold=0.6) == 1
    assert next_stage(1, 3, pass_rate=0.6, threshold=0.6) == 2
    assert next_stage(3, 3, pass_rate=1.0, threshold=0.6) == 3


def test_what_is_no_curriculum_is_refused() -> None:
    with pytest.raises(BadData, match="parses and is not empty"):
        subtask("def f(", 1, 2)
    with pytest.raises(ValueError, match="from 1 to 3, got 0"):
        subtask(REFERENCE, 0, 3)


def traced_lines(code: str, call: str) -> list[int]:
    """The lines that run when the code is loaded and called, as the interpreter reports them."""
    seen: set[int] = set()

    def trace(frame: object, event: str, argument: object) -> object:
        if frame.f_code.co_filename == "<candidate>" and event == "line":
            seen.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        names: dict[str, object] = {}
        exec(compile(code, "<candidate>", "exec"), names)
        eval(call, names)
    finally:
        sys.settrace(before)
    return sorted(seen)


def test_statements_that_never_ran_are_left_out() -> None:
    ran = traced_lines(REFERENCE, "f([1, 2])")
    lines = [None, *range(1, 9), None]
    mask = executed_mask(REFERENCE, ran, lines)
    dead = [line for line, kept in zip(lines, mask, strict=True) if not kept]
    assert dead == [7]


def test_statements_over_several_lines_stand_or_fall_together() -> None:
    code = (
        "def f(x):\n"
        '    """Doc."""\n'
        "    # a comment\n"
        "    y = max(\n        x,\n        1,\n    )\n"
        "    if y > 5:\n"
        "        return min(\n            y,\n            9,\n        )\n"
        "    return y\n"
    )
    lines = list(range(1, code.count("\n") + 1))
    mask = executed_mask(code, traced_lines(code, "f(2)"), lines)
    assert [line for line, kept in zip(lines, mask, strict=True) if not kept] == [9, 10, 11, 12]


@pytest.mark.parametrize("code", [None, "def f("])
def test_where_nothing_is_known_all_tokens_stay(code: str | None) -> None:
    assert executed_mask(code, [1], [None, 1, 2]) == [True] * 3
    assert executed_mask(REFERENCE, None, [None, 1, 7]) == [True] * 3


def test_compound_statements_own_their_header_alone() -> None:
    code = (
        "import functools\n@functools.cache\ndef f(\n    x,\n):\n    try:\n        return x\n"
        "    except ValueError:\n        pass\n"
    )
    found = [(first, last) for first, last, _ in statements(ast.parse(code))]
    assert found == [(1, 1), (2, 5), (6, 6), (7, 7), (9, 9)]
