"""Percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

# Drawn numbers held in memory at once.
_CELLS = 4_000_000


def interval(
    values: Sequence[float] | NDArray[np.float64], resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Interval of the mean of `values` when its units are drawn anew with replacement.

    Args:
        values: One value per unit, usually a problem.
        resamples: Number of draws of a whole set.
        confidence: Share of the draws' means inside the interval.
        seed: Random seed of the draws; equal seeds give equal intervals.

    Returns:
        The low and the high end.

    Raises:
        ValueError: If there are no values, or a number is out of range.
    """
    units = np.asarray(values, dtype=np.float64)
    _check(units, resamples, confidence)
    generator = np.random.default_rng(seed)

    def draw(count: int) -> NDArray[np.float64]:
        return units[generator.integers(len(units), size=(count, len(units)))].mean(axis=1)

    return _ends(_in_chunks(resamples, len(units), draw), confidence)


def cluster_interval(
    values: Sequence[Sequence[float]] | NDArray[np.float64],
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """Interval of the mean when seeds are drawn anew, and problems within each drawn seed.

    Args:
        values: `[seeds, problems]`; each seed has problems of its own, equally many.
        resamples: Number of draws.
        confidence: Share of the draws' means inside the interval.
        seed: Random seed of the draws.

    Returns:
        The low and the high end.

    Raises:
        ValueError: If there are no values, or a number is out of range.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"expected [seeds, problems], got an array of {table.ndim} dimensions")
    _check(table, resamples, confidence)
    clusters, units = table.shape
    generator = np.random.default_rng(seed)

    def draw(count: int) -> NDArray[np.float64]:
        rows = generator.integers(clusters, size=(count, clusters, 1))
        columns = generator.integers(units, size=(count, clusters, units))
        return table[rows, columns].mean(axis=(1, 2))

    return _ends(_in_chunks(resamples, clusters * units, draw), confidence)


def seeds_interval(
    samples: Sequence[Sequence[float]], resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """As `cluster_interval`, but each seed may have its own number of problems.

    A draw takes as many seeds as there are, from each as many problems as it has, and is the mean
    of the seeds' means.

    Args:
        samples: For each seed a value for each of its problems.
        resamples: Number of draws.
        confidence: Share of the draws' means inside the interval.
        seed: Random seed of the draws.

    Returns:
        The low and the high end.

    Raises:
        ValueError: If there are no values, or a number is out of range.
    """
    units = [np.asarray(values, dtype=np.float64) for values in samples]
    for values in units:
        _check(values, resamples, confidence)
    generator = np.random.default_rng(seed)

    def draw(count: int) -> NDArray[np.float64]:
        chosen = generator.integers(len(units), size=(count, len(units)))
        means = np.empty(chosen.shape)
        for number, values in enumerate(units):
            places = chosen == number
            drawn = generator.integers(len(values), size=(places.sum(), len(values)))
            means[places] = values[drawn].mean(axis=1)
        return means.mean(axis=1)

    return _ends(_in_chunks(resamples, sum(map(len, units)), draw), confidence)


def ratio_interval(
    numerators: Sequence[float] | NDArray[np.float64],
    denominators: Sequence[float] | NDArray[np.float64],
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """Interval of the ratio of two means over the same units, drawn anew together.

    Args:
        numerators: One value per unit, such as the variance of one estimator on a completion.
        denominators: Values of the same units in the same order; their mean must not be 0.
        resamples: Number of draws of a whole set.
        confidence: Share of the draws' ratios inside the interval.
        seed: Random seed of the draws.

    Returns:
        The low and the high end.

    Raises:
        ValueError: If there are no values, unequally many, or a number is out of range.
    """
    pairs = np.asarray([numerators, denominators], dtype=np.float64)
    _check(pairs, resamples, confidence)
    generator = np.random.default_rng(seed)
    units = pairs.shape[1]

    def draw(count: int) -> NDArray[np.float64]:
        sums = pairs[:, generator.integers(units, size=(count, units))].sum(axis=2)
        return sums[0] / sums[1]

    return _ends(_in_chunks(resamples, units, draw), confidence)


def _in_chunks(
    resamples: int, cells: int, draw: Callable[[int], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The means of all draws, with at most `_CELLS` numbers in memory at once."""
    chunk = max(1, _CELLS // cells)
    counts = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    return np.concatenate([draw(count) for count in counts])


def _ends(means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _check(values: NDArray[np.float64], resamples: int, confidence: float) -> None:
    if values.size == 0:
        raise ValueError("no values: an interval needs at least one")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
