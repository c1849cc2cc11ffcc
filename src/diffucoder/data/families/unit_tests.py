"""Unit tests for generated tasks that tell right from nearly right."""

from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

from diffucoder.data.families.inputs import GENERATORS
from diffucoder.data.families.tasks import ENTRY_POINT, Task

INPUTS_TRIED = 40


def discriminating_tests(task: Task, count: int, random: Random) -> list[str]:
    """Assert statements that the reference passes and common mistakes mostly fail.

    Inputs are drawn at random, then chosen one at a time so that the mistake (or combination of
    mistakes) least caught so far is caught next: an empty list, on which almost any program is
    right, earns nothing by being asked again.

    Args:
        task: what is tested.
        count: number of asserts.
        random: source of the inputs.
    """
    make_input = GENERATORS[task.choices[0].part.inputs]
    reference = _function(task.code())
    risky = task.risky_places()
    wrong = [
        _function(task.code(places))
        for size in range(1, len(risky) + 1)
        for places in combinations(risky, size)
    ]
    # The laziest programs: the argument back, nothing, and zero.
    wrong += [lambda value: value, lambda value: [], lambda value: 0]
    pool = {repr(value): value for value in (make_input(random) for _ in range(INPUTS_TRIED))}
    caught = {
        text: [not _same(reference, other, value) for other in wrong]
        for text, value in pool.items()
    }
    chosen: list[str] = []
    tally = [0] * len(wrong)
    while caught and len(chosen) < count:
        best = max(caught, key=lambda text: _worth(caught[text], tally))
        chosen.append(best)
        tally = [seen + now for seen, now in zip(tally, caught.pop(best), strict=True)]
    return [f"assert {ENTRY_POINT}({text}) == {reference(pool[text])!r}" for text in chosen]


def _worth(catches: list[bool], tally: list[int]) -> float:
    """How much an input adds: a mistake counts the less, the more often it is caught already."""
    return sum((1 + seen) ** -2 for now, seen in zip(catches, tally, strict=True) if now)


def _function(code: str) -> Callable[[Any], Any]:
    namespace: dict[str, Any] = {}
    # The project's own templates: what a model writes runs in the sandbox alone.
    exec(code, namespace)
    return namespace[ENTRY_POINT]


def _same(reference: Callable[[Any], Any], other: Callable[[Any], Any], value: Any) -> bool:
    try:
        return bool(other(value) == reference(value))
    except ValueError:
        # max() and min() of nothing: the mistake that some parts stand for.
        return False
