"""MBPP (Austin et al., arXiv 2108.07732), whole and sanitized."""

from collections.abc import Mapping
from typing import Any

from diffucoder.data.problems import Problem
from diffucoder.data.published import mbpp_code, mbpp_tests
from diffucoder.data.python_source import called_function
from diffucoder.evaluation.suites.base import Suite, ask
from diffucoder.evaluation.suites.options import Style

# MBPP's own split by task id: 1-10 prompts, 11-510 test, 511-600 validation, 601-974 training.
TEST_IDS = range(11, 511)


def mbpp_problem(row: Mapping[str, Any], style: Style = "instruct") -> Problem:
    """A row of MBPP, or of its sanitized half, as a problem; each assert is one test."""
    first, code = row["test_list"][0], mbpp_code(row)
    text = row.get("text") or row["prompt"]
    example = f"{text}\nYour program must pass this test: {first}"
    return Problem(
        problem_id=f"MBPP/{row['task_id']}",
        source="mbpp_sanitized" if "test_imports" in row else "mbpp",
        split="eval",
        prompt=f'"""\n{text}\n{first}\n"""\n' if style == "completion" else ask(example),
        entry_point=called_function(row["test_list"], code),
        reference=code,
        tests=list(mbpp_tests(row)),
    )


def _is_test(row: Mapping[str, Any]) -> bool:
    return row["task_id"] in TEST_IDS


SUITES = {
    "mbpp": Suite("MBPP", "mbpp.jsonl", mbpp_problem, includes=_is_test),
    "mbpp_sanitized": Suite(
        "MBPP sanitized", "sanitized-mbpp.json", mbpp_problem, includes=_is_test
    ),
}
