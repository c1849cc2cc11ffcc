"""A problem as a record, and as a program for the sandbox."""

import numpy as np
import pytest

from diffucoder.data.problems import Problem
from diffucoder.errors import BadData
from diffucoder.sandbox import Program

CODE = "def f(xs):\n    return 1\n"
TESTS = ["assert f([1, 2]) == 3", "assert f([]) == 0"]
CHECK = "def check(candidate):\n    assert candidate([1]) == 1\n"


def problem(**changes: object) -> Problem:
    return Problem(**{"problem_id": "p0", "prompt": "Add.", "entry_point": "f"} | changes)


def test_a_check_is_taken_as_a_source() -> None:
    made = problem(check=CHECK).program(CODE)
    assert made.tests == CHECK
    assert made.entry_point == "f"


def test_the_program_has_the_tests_and_their_setup() -> None:
    made = problem(tests=TESTS, setup="import math").program(CODE)
    assert made == Program(CODE, TESTS, "f", "import math")
    # Without a name, the sandbox finds the function in the tests.
    assert problem(tests=TESTS, entry_point="").program(CODE).entry_point is None


def test_a_harness_runs_after_the_candidate_and_is_what_tests_call() -> None:
    made = problem(tests=TESTS, harness="def run(): pass\n").program(CODE)
    assert made == Program(f"{CODE}\n\ndef run(): pass\n", TESTS)


@pytest.mark.parametrize(
    ("tests", "check", "message"), [([], "", "neither of"), (TESTS, CHECK, "both of")]
)
def test_a_problem_has_either_tests_or_a_check(tests: list[str], check: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        problem(tests=tests, check=check)


def test_a_record_comes_back_whole() -> None:
    whole = problem(tests=TESTS, pass_rates=[0.5], setup="import math", reference=CODE)
    assert Problem.from_record(whole.record()) == whole


def test_a_row_may_lack_columns_that_have_defaults_and_hold_arrays() -> None:
    row = {"problem_id": "p0", "prompt": "Add.", "entry_point": "f", "check": None, "other": 1}
    read = Problem.from_record(row | {"tests": np.array(TESTS, dtype=object)})
    assert read == problem(tests=TESTS)


def test_an_absent_column_is_named() -> None:
    with pytest.raises(BadData, match=r"lacks the columns \['entry_point'\]"):
        Problem.from_record({"problem_id": "p0", "prompt": "Add.", "tests": TESTS})
