from random import Random

import pytest

from diffucoder.data.families.parts import FAMILIES
from diffucoder.data.families.tasks import GeneratedTask, draw_tasks
from diffucoder.data.families.unit_tests import discriminating_tests


def failures(code: str, tests: list[str]) -> int:
    """How many of the asserts the code does not pass."""
    failed = 0
    for test in tests:
        namespace: dict = {}
        exec(code, namespace)
        try:
            exec(test, namespace)
        except (AssertionError, ValueError):
            failed += 1
    return failed


@pytest.fixture(scope="module")
def tested() -> list[tuple[GeneratedTask, list[str]]]:
    tasks = draw_tasks(dict.fromkeys(FAMILIES, 1.0), 200, Random(0))
    return [(task, discriminating_tests(task, 6, Random(task.composition))) for task in tasks]


def test_references_pass_their_tests(tested: list[tuple[GeneratedTask, list[str]]]) -> None:
    for task, tests in tested:
        assert len(set(tests)) == 6
        assert failures(task.code(), tests) == 0


def test_common_mistakes_fail_most_problems(tested: list[tuple[GeneratedTask, list[str]]]) -> None:
    risky = [(task, tests, slot) for task, tests in tested for slot in task.mistakable_slots()]
    caught = [failures(task.code([place]), tests) > 0 for task, tests, place in risky]
    assert len(caught) > 150
    # Some mistakes make no difference: the absolute value of what is positive already.
    assert sum(caught) / len(caught) > 0.8


def test_lazy_programs_fail(tested: list[tuple[GeneratedTask, list[str]]]) -> None:
    for body in ("value", "[]", "0"):
        code = f"def f(value):\n    return {body}\n"
        caught = sum(failures(code, tests) > 0 for _, tests in tested)
        assert caught / len(tested) > 0.95


def test_same_seed_same_tests(tested: list[tuple[GeneratedTask, list[str]]]) -> None:
    task, tests = tested[0]
    assert discriminating_tests(task, 6, Random(task.composition)) == tests
    assert discriminating_tests(task, 6, Random("another")) != tests
