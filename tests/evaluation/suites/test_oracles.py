"""EvalPlus's rules of agreement, each against answers that it takes and that it refuses."""

import cmath
import math
import re
from typing import Any

import pytest

from diffucoder.evaluation.suites import oracles

BREADTH = 1e-6 + 1e-7 * 2


def _agrees(found: Any, expected: Any, inputs: list[Any], rule: str = "", atol: float = 0) -> bool:
    return oracles.agrees(lambda *_: found, lambda *_: expected, inputs, rule, atol)


@pytest.mark.parametrize(
    ("found", "expected", "atol", "right"),
    [
        (3, 3, 0, True),
        (3.0, 3, 0, True),
        (True, 1, 0, True),
        ([1, 2], (1, 2), 0, False),
        (3 + 1e-9, 3, 0, False),
        (2.0 + BREADTH * 0.99, 2.0, 0, True),
        (2.0 + BREADTH * 1.01, 2.0, 0, False),
        ([1.0, 2.0 + 1e-9], [1.0, 2.0], 0, True),
        ((1.0, 2.0 + 1e-9), [1.0, 2.0], 0, False),
        ([1.0], [1.0, 2.0], 0, False),
        ([1.0, "a"], [1.0, "b"], 1e-6, False),
        ([[1.0], [2.0 + 1e-9]], [[1.0], [2.0]], 1e-6, True),
        ([[1.0], [2.0 + 1e-9]], [[1.0], [2.0]], 0, False),
        (5, 5.00001, 1e-4, False),
        (5.00001, 5.0, 1e-4, True),
        (5.001, 5.0, 1e-4, False),
        (1e300, 1e300 * (1 + 1e-8), 0, True),
        (math.inf, math.inf, 0, True),
        (math.inf, 1.0, 0, False),
        (1.0, math.inf, 0, False),
        (math.nan, 1.0, 0, False),
        (cmath.rect(1, 1) + 1e-9, cmath.rect(1, 1), 1e-6, True),
        ([], [], 1e-6, True),
        (None, 0.0, 0, False),
        ("1.0", 1.0, 0, False),
    ],
)
def test_values_agree_within_their_tolerance(
    found: Any, expected: Any, atol: float, right: bool
) -> None:
    assert _agrees(found, expected, [], atol=atol) is right


def test_members_may_come_in_any_order() -> None:
    assert _agrees([3, 1, 3], (1, 3), [], "members")
    assert not _agrees([1], (1, 3), [], "members")


def test_a_match_counts_as_true() -> None:
    matched = re.match("a", "a")
    assert _agrees(matched, matched, [], "not_none")
    assert _agrees(True, matched, [], "not_none")
    assert _agrees(False, None, [], "not_none")
    assert not _agrees(True, None, [], "not_none")
    assert not _agrees(None, matched, [], "not_none")


def test_any_root_will_do() -> None:
    # (x - 1)(x - 2), and a reference that found the first.
    coefficients = [[2, -3, 1]]
    assert _agrees(2.0, 1.0, coefficients, "root", 1e-4)
    assert not _agrees(1.5, 1.0, coefficients, "root", 1e-4)


def test_a_wrong_reference_is_not_held_against_anyone() -> None:
    assert _agrees("whatever", True, [36, 57], "anything")


def test_the_sum_of_divisors_may_be_zero() -> None:
    assert _agrees(0, 7, [8], "zero")
    assert _agrees(7, 7, [8], "zero")
    assert not _agrees(1, 7, [8], "zero")


def test_the_height_of_a_pyramid_is_read_in_two_ways() -> None:
    # Half the edge 3 and the height 4 make a slant of 5: 36 + 2 * 6 * 5.
    assert _agrees(96, 84, [6, 4], "pyramid")
    assert _agrees(84, 84, [6, 4], "pyramid")
    assert not _agrees(90, 84, [6, 4], "pyramid")


def test_digits_are_compared_from_the_right() -> None:
    # 123 and 056: 1 + 3 + 3.
    assert _agrees(7, 0, [123, 56], "digits")
    assert not _agrees(6, 0, [123, 56], "digits")


def test_neither_side_sees_what_the_other_did_to_the_arguments() -> None:
    def spoil(numbers: list[int]) -> int:
        total = sum(numbers)
        numbers.clear()
        return total

    given = [[1, 2, 3]]
    assert oracles.agrees(spoil, spoil, given, "", 0)
    assert given == [[1, 2, 3]]
