"""Unit tests for generated tasks that tell right programs from nearly right ones."""

from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

from diffucoder.data.families.inputs import GENERATORS
from diffucoder.data.families.tasks import ENTRY_POINT, GeneratedTask

CANDIDATE_INPUTS = 40


def discriminating_tests(task: GeneratedTask, count: int, random: Random) -> list[str]:
    """Write assert statements that the reference passes and common mistakes mostly fail.

    Inputs are drawn at random, then chosen one at a time so that the mistake (or combination of
    mistakes) that failed the fewest tests so far fails the next. So an empty list, on which almost
    any program is right, is not chosen twice.

    Args:
        task: The task to test.
        count: Number of asserts.
        random: Source of the inputs.

    Returns:
        The asserts; fewer than `count` if too few distinct inputs were drawn.
    """
    make_input = GENERATORS[task.choices[0].part.inputs]
    reference = _function(task.code())
    mistakable = task.mistakable_slots()
    wrong = [
        _function(task.code(slots))
        for size in range(1, len(mistakable) + 1)
        for slots in combinations(mistakable, size)
    ]
    # The simplest programs: return the argument, an empty list, or zero.
    wrong += [lambda value: value, lambda value: [], lambda value: 0]
    pool = {repr(value): value for value in (make_input(random) for _ in range(CANDIDATE_INPUTS))}
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
    """How much an input adds: a mistake counts less the more tests it fails already."""
    return sum((1 + seen) ** -2 for now, seen in zip(catches, tally, strict=True) if now)


def _function(code: str) -> Callable[[Any], Any]:
    namespace: dict[str, Any] = {}
    # The project's own templates; what a model writes runs only in the sandbox.
    exec(code, namespace)
    return namespace[ENTRY_POINT]


def _same(reference: Callable[[Any], Any], other: Callable[[Any], Any], value: Any) -> bool:
    try:
        return bool(other(value) == reference(value))
    except ValueError:
        # max() of an empty list: the mistake of some parts.
        return False
