"""Tests in the candidate's process: judged where they can be, and labelled everywhere."""

from typing import Any

import pandas as pd
import pytest

from diffucoder.data.problems import Problem
from diffucoder.evaluation import suites
from diffucoder.evaluation.scoring import find_untestable, score
from diffucoder.evaluation.suites.bigcodebench import bigcodebench_problem
from diffucoder.sandbox import Sandbox

ROW: dict[str, Any] = {
    "task_id": "BigCodeBench/x",
    "complete_prompt": 'import random\n\ndef task_func(n):\n    """Draws n numbers."""\n',
    "instruct_prompt": "Draw n numbers.",
    "canonical_solution": "    return [random.random() for _ in range(n)]\n",
    "entry_point": "task_func",
    "test": "import unittest\nfrom unittest.mock import patch\n"
    "class TestCases(unittest.TestCase):\n"
    "    def setUp(self):\n        self.count = 2\n"
    "    @patch('random.random', return_value=0.5)\n"
    "    def test_patched(self, drawn):\n"
    "        self.assertEqual(task_func(self.count), [0.5, 0.5])\n"
    "    def test_length(self):\n        self.assertEqual(len(task_func(3)), 3)\n"
    "    def test_kind(self):\n"
    "        with self.subTest():\n            self.assertIsInstance(task_func(1)[0], float)\n",
}


def test_each_method_is_one_test() -> None:
    problem = bigcodebench_problem(ROW)
    codes = [
        problem.reference,
        "def task_func(n):\n    return [1] * n\n",
        "def task_func(n):\n    return 1 / 0\n",
    ]
    with Sandbox(workers=1) as sandbox:
        verdicts = sandbox.run(problem.program(code) for code in codes)
    assert [verdict.passed for verdict in verdicts] == [
        (True, True, True),
        (False, True, False),
        (False, False, False),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"canonical_solution": "    import no_such_a, os, no_such_b.c\n"},
         "not installed: no_such_a, no_such_b"),
        ({"test": "from no_such_c import d\n" + ROW["test"]}, "not installed: no_such_c"),
        ({"canonical_solution": "    return open('/tmp/x', 'w')\n"},
         "its reference does not pass in the sandbox: denied, "),
        ({"canonical_solution": "    return []\n"},
         "its reference does not pass in the sandbox: failed, AssertionError"),
    ],
)  # fmt: skip
def test_problems_that_cannot_be_judged_are_named(change: dict[str, str], reason: str) -> None:
    rows = [ROW, ROW | change | {"task_id": "other"}]
    problems = [bigcodebench_problem(row) for row in rows]
    with Sandbox(workers=1) as sandbox:
        found = find_untestable(problems, sandbox)
    assert list(found) == ["other"]
    # What a refused write raises depends on the tier.
    assert found["other"].startswith(reason)


def test_only_suites_of_this_kind_carry_the_label() -> None:
    contained = [name for name in suites.SUITES if suites.trust(name) == "contained_only"]
    assert contained == ["bigcodebench_hard"]
    assert suites.trust("heldout") == "unforgeable"
    assert [
        name for name in suites.SUITES if "contained only" in suites.suite_label(name)
    ] == contained


def test_the_label_lies_beside_every_verdict() -> None:
    suite_problem = bigcodebench_problem(ROW)
    own = Problem(problem_id="p0", prompt="ask", entry_point="f", tests=["assert f() == 1"])
    problems = {("bigcodebench_hard", "BigCodeBench/x"): suite_problem, ("heldout", "p0"): own}
    answer = f"```python\n{suite_problem.reference}```"
    table = pd.DataFrame(
        {
            "suite": [suite for suite, _ in problems],
            "problem_id": [problem for _, problem in problems],
            "prompt": "ask",
            "text": [answer, "```python\ndef f(): return 1\n```"],
            "style": "instruct",
        }
    )
    with Sandbox(workers=1) as sandbox:
        scored = score(table, problems, sandbox)
    assert scored["passed"].tolist() == [True, True]
    assert scored["trust"].tolist() == ["contained_only", "unforgeable"]
