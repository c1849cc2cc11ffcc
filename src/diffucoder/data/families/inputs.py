"""Random inputs for generated tasks; edge cases are common on purpose."""

from collections.abc import Callable
from random import Random
from typing import Any

WORDS = "aeioubcdxyzAEIXYZ019 "


def integers(random: Random) -> list[int]:
    """A short list of small integers, sometimes empty, often with repeats."""
    values = random.sample(range(-9, 13), random.randint(1, 5))
    return random.choices(values, k=random.choice((0, 1, 3, 5, 6, 7)))


def text(random: Random) -> str:
    """A short string of letters, digits and spaces, sometimes empty."""
    letters = random.sample(WORDS, random.randint(1, 6))
    return "".join(random.choices(letters, k=random.choice((0, 1, 4, 6, 8))))


def limit(random: Random) -> int:
    """The end of a range, from 0 to 30 and mostly small."""
    return random.choice((random.randint(0, 12), random.randint(0, 30)))


def count(random: Random) -> int:
    """A number of one to five digits, often with repeats."""
    digits = random.sample("0123456789", random.randint(1, 4))
    return int("".join(random.choices(digits, k=random.choice((1, 2, 4, 5)))))


def counts(random: Random) -> dict[str, int]:
    """A small dictionary from letters to integers."""
    return dict(zip("abcdefg", integers(random), strict=False))


GENERATORS: dict[str, Callable[[Random], Any]] = {
    "integers": integers,
    "text": text,
    "limit": limit,
    "count": count,
    "counts": counts,
}
