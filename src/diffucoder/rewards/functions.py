"""Rewards: plain functions from a record to a number, summed by weight."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

from diffucoder.config.rewards import RewardParams
from diffucoder.errors import BadParameters
from diffucoder.imports import load_object
from diffucoder.rewards import extract
from diffucoder.sandbox import Verdict


@dataclass(frozen=True)
class RewardRecord:
    """What a reward function may look at.

    Attributes:
        prompt: What the user asked.
        completion: The model's text.
        code: What was extracted from it, or None.
        verdict: The sandbox's verdict on `code` and the problem's tests.
    """

    prompt: str
    completion: str
    code: str | None
    verdict: Verdict


RewardFunction = Callable[[RewardRecord], float]


def tests_passed(record: RewardRecord) -> float:
    """Share of the unit tests that pass, 0 to 1; 0 if the completion has no code block."""
    return record.verdict.pass_rate if record.code is not None else 0.0


def code_format(record: RewardRecord) -> float:
    """0 without a fenced block of Python, 0.5 for one that does not parse, 1 for one that does."""
    return extract.format_reward(record.completion)


def brevity(record: RewardRecord) -> float:
    """1 for an empty completion, halved with every 100 characters."""
    return 0.5 ** (len(record.completion) / 100)


def score(
    records: Sequence[RewardRecord], rewards: RewardParams
) -> tuple[list[float], list[dict[str, float]]]:
    """Compute the weighted sum of all rewards for each record.

    Args:
        records: One per completion.
        rewards: Functions by import path, with their weights.

    Returns:
        The sums, and for each record the value of each reward before its weight.

    Raises:
        BadParameters: If a function cannot be imported, raises, or gives something other than a
            finite number.
    """
    functions = resolve_all(rewards)
    parts = [
        {name: _value(function, name, record) for name, function in functions.items()}
        for record in records
    ]
    totals = [
        sum(term.weight * values[name] for name, term in rewards.terms.items()) for values in parts
    ]
    return totals, parts


def resolve_all(rewards: RewardParams) -> dict[str, RewardFunction]:
    """Import the function of each reward.

    Args:
        rewards: Functions by import path.

    Returns:
        The functions, by the rewards' names.

    Raises:
        BadParameters: If there is no such function.
    """
    return {name: resolve(term.function) for name, term in rewards.terms.items()}


def resolve(path: str) -> RewardFunction:
    """Import a reward function.

    Args:
        path: `package.module.function`.

    Returns:
        The function.

    Raises:
        BadParameters: If there is no such function.
    """
    function: RewardFunction = load_object(path, "reward function")
    if not callable(function):
        raise BadParameters(
            f"reward function {path!r} is of type {type(function).__name__}: name a function"
        )
    return function


def _value(function: RewardFunction, name: str, record: RewardRecord) -> float:
    try:
        value = function(record)
    except Exception as error:
        raise BadParameters(
            f"reward {name!r} raised {type(error).__name__}: {error}; it must give a number for "
            f"every completion, this one of {len(record.completion)} characters with a verdict of "
            f"{record.verdict.status!r} as well"
        ) from error
    if not isinstance(value, Real) or not math.isfinite(value):
        raise BadParameters(f"reward {name!r} gave {value!r}: it must give a finite number")
    return float(value)
