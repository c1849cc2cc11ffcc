"""BigCodeBench-Hard (Zhuo et al., arXiv 2406.15877): unit tests that patch what they test.

They replace functions of modules that the candidate imports, look at figures it drew and files it
wrote, so they run in its process. The sandbox contains that process as any other; but whatever
can be seen there can be forged.
"""

import ast
from collections.abc import Mapping
from typing import Any

from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites.base import Suite
from diffucoder.evaluation.suites.options import Style

# Goes after the candidate and the suite's unit tests, in the candidate's process.
# An error is raised again, so that the verdict says what it was.
_RUNNER = """
class Recorder(unittest.TestResult):
    cause = None

    def addError(self, test, error):
        self.cause = error[1]
        super().addError(test, error)

def passes(name):
    result = Recorder()
    unittest.TestSuite([TestCases(name)]).run(result)
    if result.cause:
        raise result.cause
    return result.testsRun == 1 and result.wasSuccessful()
"""


def bigcodebench_problem(row: Mapping[str, Any], style: Style = "instruct") -> Problem:
    """A row of BigCodeBench as a problem; each method of its test case is one test."""
    return Problem(
        problem_id=row["task_id"],
        source="bigcodebench_hard",
        split="eval",
        prompt=row["complete_prompt" if style == "completion" else "instruct_prompt"],
        entry_point=row["entry_point"],
        reference=row["complete_prompt"] + row["canonical_solution"],
        tests=[f"assert passes({name!r})" for name in _methods(row["test"])],
        harness=f"import unittest\n{row['test']}\n{_RUNNER}",
    )


def _methods(test: str) -> list[str]:
    """The names under which unittest runs the methods of `TestCases`."""
    (cases,) = (
        node
        for node in ast.parse(test).body
        if isinstance(node, ast.ClassDef) and node.name == "TestCases"
    )
    functions = [node for node in cases.body if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if node.name.startswith("test")]


SUITES = {
    "bigcodebench_hard": Suite(
        "BigCodeBench-Hard",
        "BigCodeBench_Hard.jsonl",
        bigcodebench_problem,
        trust="contained_only",
    ),
}
