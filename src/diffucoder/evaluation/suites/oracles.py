"""EvalPlus's word on whether an answer is right.

The source of this module goes before the tests of each problem and runs in the judge, so it
imports the standard library alone. `agrees` follows evalplus 0.3.1 (github.com/evalplus/evalplus,
`eval/__init__.py` and `eval/_special_oracle.py`): equality, then for floats closeness, and for
some problems a rule of their own.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]

# numpy.testing.assert_allclose's, and what floats get where a problem names no tolerance.
RTOL, ATOL = 1e-7, 1e-6


def agrees(candidate: Function, reference: Function, inputs: list, rule: str, atol: float) -> bool:
    """Whether the candidate's answer to one input is right.

    Args:
        candidate: the function under test.
        reference: the canonical solution.
        inputs: positional arguments; each of the two gets a copy of its own.
        rule: a name in `RULES`, or empty for equality.
        atol: absolute tolerance of the problem; 0 compares exactly what is not floats.
    """
    found = candidate(*copy.deepcopy(inputs))
    expected = reference(*copy.deepcopy(inputs))
    if rule == "root":
        return is_root(found, expected, inputs, atol)
    if (RULES[rule] if rule else equal)(found, expected, inputs, atol):
        return True
    if atol == 0 and not is_floats(expected):
        return False
    return close(found, expected, atol or ATOL)


def equal(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """The same value."""
    return bool(found == expected)


def same_members(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """The same elements, in any order, however often."""
    return set(found) == set(expected)


def anything(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """Mbpp/164: its reference is wrong, so that nothing can be asked."""
    return True


def found_something(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """A truth value, or a match where the reference matches: not None where it is not None."""
    matched = expected is not None
    return found == matched if isinstance(found, bool) else matched == (found is not None)


def is_root(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """HumanEval/32: a polynomial has several roots; coefficients from the constant upwards."""
    (coefficients,) = inputs
    value = sum(c * math.pow(found, power) for power, c in enumerate(coefficients))
    return abs(value) <= atol


def equal_or_zero(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """Mbpp/295: 0 is also taken."""
    return bool(found == expected or found == 0)


def surface_of_pyramid(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """Mbpp/581: the height may be that of the pyramid instead of its sides'."""
    edge, height = inputs
    slant = math.sqrt((edge / 2) ** 2 + height**2)
    return bool(found == expected) or abs(found - round(edge**2 + 2 * edge * slant)) <= atol


def digit_distance(found: Any, expected: Any, inputs: list, atol: float) -> bool:
    """Mbpp/558: the shorter number may be filled up with zeros on its left."""
    first, second = (str(number) for number in inputs)
    width = max(len(first), len(second))
    pairs = zip(first.zfill(width), second.zfill(width), strict=True)
    return bool(found == expected or found == sum(abs(int(a) - int(b)) for a, b in pairs))


RULES: dict[str, Callable[[Any, Any, list, float], bool]] = {
    "members": same_members,
    "anything": anything,
    "not_none": found_something,
    "root": is_root,
    "zero": equal_or_zero,
    "pyramid": surface_of_pyramid,
    "digits": digit_distance,
}


def is_floats(value: Any) -> bool:
    """A float, or a list or tuple of nothing but floats."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(part, float) for part in value)
    return isinstance(value, float)


def close(found: Any, expected: Any, atol: float) -> bool:
    """Numbers within `atol` and `RTOL`, alone or in nested lists and tuples of one shape."""
    return type(found) is type(expected) and _close(found, expected, atol)


def _close(found: Any, expected: Any, atol: float) -> bool:
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(_close(a, b, atol) for a, b in zip(found, expected, strict=True))
        )
    if not isinstance(found, (int, float, complex)):
        return False
    if not isinstance(expected, (int, float, complex)):
        return False
    size = abs(expected)
    # Any number would be within a share of infinity.
    return found == expected or (size < math.inf and abs(found - expected) <= atol + RTOL * size)
