"""HumanEval+ and MBPP+: inputs as Python values, a reference within the judge, one test each."""

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffucoder.data.tabular import read_rows
from diffucoder.evaluation import suites
from diffucoder.evaluation.suites import oracles, plus
from diffucoder.sandbox import Sandbox, Verdict

ROW: dict[str, Any] = {
    "task_id": "HumanEval/200",
    "prompt": 'import math\n\ndef half(x):\n    return x / 2\n\ndef root(x):\n    """A root."""\n',
    "canonical_solution": "    if x > 9:\n        return root(9)\n    return half(math.sqrt(x))\n",
    "entry_point": "root",
    "base_input": [[4], [9.0]],
    "plus_input": [[2], [100]],
    "atol": 0,
}


def _judge(row: dict[str, Any], *codes: str) -> list[Verdict]:
    problem = plus.plus_problem(row)
    with Sandbox(workers=1, wall_s=2) as sandbox:
        return sandbox.run(problem.program(code) for code in codes)


def test_the_reference_and_what_is_close_to_it_pass() -> None:
    near = "def root(x):\n    return min(x, 9) ** 0.5 * 0.50000001\n"
    wrong = "def root(x):\n    return 1.0\n"
    verdicts = _judge(ROW, plus.plus_problem(ROW).reference, near, wrong)
    assert [verdict.passed for verdict in verdicts] == [(True,) * 4, (True,) * 4,
                                                        (True, False, False, False)]  # fmt: skip


def test_a_candidate_cannot_touch_the_reference_or_the_oracle() -> None:
    names = (
        "half",
        "canonical_solution",
        "right",
        "agrees",
        "equal",
        "close",
        "math",
        "sum",
        "abs",
        "copy",
    )
    forged = "\n".join(f"def {name}(*args): return True" for name in names)
    (verdict,) = _judge(ROW, f"{forged}\ndef root(x): return 0\n")
    assert verdict.passed == (False,) * 4


def test_no_entry_point_is_a_name_of_the_setup(benchmarks_dir: Path) -> None:
    taken = set(dir(oracles)) | {"canonical_solution", "right", "inf", "nan"}
    for suite in ("humaneval_plus", "mbpp_plus"):
        problems = suites.load(suite, benchmarks_dir)
        assert not taken & {problem.entry_point for problem in problems}


def test_the_setup_is_the_tested_oracle() -> None:
    assert inspect.getsource(oracles) in plus.plus_problem(ROW).setup


def test_styles_differ_in_the_prompt_alone() -> None:
    instruct, completion = plus.plus_problem(ROW), plus.plus_problem(ROW, "completion")
    assert completion.prompt == ROW["prompt"]
    assert instruct.prompt.endswith(f"```python\n{ROW['prompt'].rstrip()}\n```")
    assert replace(instruct, prompt="") == replace(completion, prompt="")


@pytest.mark.parametrize(
    ("number", "given", "expected"),
    [
        (2, [[1], [2]], [(1,), (2,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[1], [2]], 3], [[(1,), (2,)], 3]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1, 1], []]], [[{1}, {}]]),
        (124, [1, "2j"], [1.0, 2j]),
        (250, [[1], 2], [(1,), 2]),
        (252, ["1+2j"], [1 + 2j]),
        (259, [[[1], [2]], [[3]]], [((1,), (2,)), ((3,),)]),
        (278, [[1, [2, 3]]], [(1, (2, 3))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (722, [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
        (999, [[1, [2]]], [[1, [2]]]),
    ],
)
def test_json_becomes_what_the_reference_takes(
    number: int, given: list[Any], expected: list[Any]
) -> None:
    row = {"task_id": f"Mbpp/{number}", "base_input": [given], "plus_input": {}}
    (found,) = plus.inputs(row)
    assert found == expected
    assert [type(part) for part in found] == [type(part) for part in expected]


def test_inputs_that_are_not_finite_have_a_source() -> None:
    identity = ROW | {
        "task_id": "Mbpp/404",
        "prompt": "",
        "canonical_solution": "def same(x):\n    return x\n",
        "entry_point": "same",
        "base_input": [[math.inf], [-math.inf]],
        "plus_input": [[complex(math.inf, 1)], [[1.5, -math.inf]]],
    }
    right, wrong = _judge(identity, "def same(x): return x", "def same(x): return 0.0")
    assert (right.passed, wrong.passed) == ((True,) * 4, (False,) * 4)


def test_inputs_fit_the_contracts_of_their_problems(benchmarks_dir: Path) -> None:
    # 267 and 734 hold inputs that their own contracts refuse.
    rows = list(read_rows(benchmarks_dir / "MbppPlus.jsonl.gz"))
    refused = [row["task_id"] for row in rows[::3] if not all(_accepted(row))]
    assert set(refused) <= {"Mbpp/267", "Mbpp/734"}


def _accepted(row: dict[str, Any]) -> list[bool]:
    """Whether each input satisfies the assertions that the file has for it."""
    function = next(
        line
        for line in row["canonical_solution"].split("\n")
        if f"def {row['entry_point']}" in line
    )
    body = row["contract"].rstrip("\n") or "    pass"
    namespace: dict[str, Any] = {}
    exec(f"{function.rstrip()}\n{body}\n", namespace)
    accepted = []
    for given in plus.inputs(row):
        try:
            namespace[row["entry_point"]](*given)
            accepted.append(True)
        except AssertionError:
            accepted.append(False)
    return accepted


def test_left_out_inputs_are_those_of_the_file(benchmarks_dir: Path) -> None:
    rows = {row["task_id"]: row for row in read_rows(benchmarks_dir / "MbppPlus.jsonl.gz")}
    for problem, given in plus.LEFT_OUT:
        row = rows[problem]
        listed = [repr(one) for one in [*row["base_input"], *row["plus_input"]]]
        assert given in listed
        assert len(plus.inputs(row)) == len(listed) - listed.count(given)
