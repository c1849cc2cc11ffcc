"""Prefixes of programs, run by the real sandbox."""

import ast

import pytest

from diffucoder.data.problems import Problem
from diffucoder.rewards.process import line_rewards, prefix_programs, prefixes, process_reward
from diffucoder.sandbox import Sandbox

PROBLEM = Problem(
    problem_id="p0",
    prompt="Add numbers.",
    entry_point="f",
    tests=["assert f([3, 1, 2]) == 6", "assert len(str(f([]))) == 1"],
)
RIGHT = """\
def g(x):
    return x

def f(xs):
    total = 0
    for x in xs:
        total += g(x)
    return total
"""
RAISES = """\
def f(xs):
    total = 0
    total += xs[7]
    return total
"""
LOOPS = """\
def f(xs):
    i = total = 0
    while i < len(xs):
        total += xs[i]
        i += 1
    return total
"""


def rewards_of(code: str) -> dict[int, float]:
    with Sandbox(workers=1, wall_s=0.5, cpu_s=5.0, max_timeouts=1) as sandbox:
        verdicts = sandbox.run(prefix_programs(code, PROBLEM))
    return line_rewards(code, "f", verdicts)


def test_prefixes_end_after_one_statement_each() -> None:
    found = prefixes(RIGHT, "f")
    assert [prefix.last_line for prefix in found] == [5, 7, 8]
    assert found[-1].source == ast.unparse(ast.parse(RIGHT))
    assert "total += g(x)" not in found[0].source and "for" not in found[0].source
    assert "return total" not in found[1].source
    assert not any(prefix.cuts_loop for prefix in found)


@pytest.mark.parametrize(
    "block",
    [
        "if x:\n        a = 1\n        b = 2\n    elif y:\n        c = 3\n    else:\n        d = 4",
        "try:\n        a = 1\n    except ValueError:\n        b = 2\n    finally:\n        c = 3",
        "with x as z:\n        a = 1\n        b = 2",
        "for i in x:\n        a = 1\n    else:\n        b = 2",
        "match x:\n        case 1:\n            a = 1\n        case _:\n            b = 2",
        "def h():\n        a = 1\n        return a\n    b = h()",
        "class H:\n        a = 1\n        b = 2",
        "@x\n    def h():\n        a = 1\n    c = 2",
    ],
)
def test_every_prefix_is_a_program(block: str) -> None:
    code = f"def f(x, y):\n    {block}\n    return x\n"
    found = prefixes(code, "f")
    assert len(found) >= 3
    for prefix in found:
        ast.parse(prefix.source)
    assert len({prefix.source for prefix in found}) == len(found)


def test_a_right_program_runs_to_its_end() -> None:
    rewards = rewards_of(RIGHT)
    assert rewards == {5: 1.0, 7: 1.0, 8: 1.0} and process_reward(rewards) == 1.0


def test_the_statement_that_raises_is_found() -> None:
    rewards = rewards_of(RAISES)
    assert rewards == {2: 1.0, 3: 0.0, 4: 0.0}
    assert process_reward(rewards) == pytest.approx(1 / 3)


def test_a_loop_cut_before_its_step_is_not_blamed_for_hanging() -> None:
    assert [prefix.cuts_loop for prefix in prefixes(LOOPS, "f")] == [False, True, False, False]
    assert set(rewards_of(LOOPS).values()) == {1.0}


def test_a_loop_that_hangs_by_itself_is() -> None:
    hangs = "def f(xs):\n    t = 0\n    while True:\n        t += 1\n    return t\n"
    assert rewards_of(hangs) == {2: 1.0, 4: 0.0, 5: 0.0}


def test_what_does_not_parse_has_no_prefixes() -> None:
    assert prefixes("def f(", "f") == [] and prefixes("x = 1", "f") == []
    assert process_reward(line_rewards("def f(", "f", [])) == 0.0
    with pytest.raises(ValueError, match="0 verdicts for 3 prefixes"):
        line_rewards(RAISES, "f", [])
