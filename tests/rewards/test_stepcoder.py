import ast
import sys

import pytest

from diffucoder.rewards.stepcoder import executed_mask, statements

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
