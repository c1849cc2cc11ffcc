"""AR-ness: how much a decode goes from left to right (arXiv 2506.20639, section 4.1).

p_1 .. p_T is the order in which positions were revealed, one per step.
"""

from collections.abc import Sequence

import numpy as np


def local_ar(order: Sequence[int], k: int) -> float:
    """Share of steps that ended a run of k reveals, each exactly one to the right of the last.

    At step t this asks that p_(i+1) = p_i + 1 for the k reveals before and up to t, so the first
    k steps, which have too few before them, are not counted.

    Args:
        order: The position revealed at each step; positions may start anywhere.
        k: Length of the run; 1 asks only about the reveal just before.

    Returns:
        0 to 1; 1 for a decode from left to right.

    Raises:
        ValueError: If k is not positive, a position is revealed twice, or there are not more
            than k steps.
    """
    _check(order, k)
    if len(order) <= k:
        raise ValueError(f"local AR-ness@{k} needs more than {k} steps, got {len(order)}")
    follows = np.diff(np.asarray(order)) == 1
    runs = np.lib.stride_tricks.sliding_window_view(follows, k)
    return float(runs.all(axis=1).mean())


def global_ar(order: Sequence[int], k: int) -> float:
    """Share of steps at which one of the k left-most positions that were still masked was revealed.

    Args:
        order: The position revealed at each step.
        k: Number of left-most positions that count.

    Returns:
        0 to 1; 1 for a decode from left to right.

    Raises:
        ValueError: If k is not positive, a position is revealed twice, or there are no steps.
    """
    _check(order, k)
    masked = sorted(order)
    early = 0
    for position in order:
        early += position in masked[:k]
        masked.remove(position)
    return early / len(order)


def order_from_steps(reveal_step: Sequence[int]) -> list[int]:
    """Turn the step of each position into the position of each step.

    Args:
        reveal_step: The step at which each position was revealed.

    Returns:
        The position revealed at each step.

    Raises:
        ValueError: If a step revealed several positions, since they have no order then.
    """
    steps = list(reveal_step)
    if len(set(steps)) != len(steps):
        raise ValueError(
            "a step revealed several positions, so AR-ness is undefined: decode one token per step"
        )
    return sorted(range(len(steps)), key=steps.__getitem__)


def _check(order: Sequence[int], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if len(order) == 0:
        raise ValueError("no steps: AR-ness of an empty decode is undefined")
    if len(set(order)) != len(order):
        raise ValueError("a position was revealed twice: expected one new position per step")
