"""Intervals against the distribution they estimate."""

import numpy as np
import pytest

from diffucoder.evaluation.bootstrap import (
    cluster_interval,
    interval,
    ratio_interval,
    seeds_interval,
)


def test_interval_of_a_share_is_near_the_normal_one() -> None:
    values = np.array([1.0] * 120 + [0.0] * 280)
    low, high = interval(values, 20_000, 0.95, seed=0)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert low == pytest.approx(0.3 - half, abs=0.004)
    assert high == pytest.approx(0.3 + half, abs=0.004)


def test_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        low, high = interval(generator.random(60), 400, 0.9, seed=trial)
        hits += low <= 0.5 <= high
    assert 0.84 < hits / 300 < 0.95


def test_same_seed_same_interval() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    assert interval(values, 500, 0.9, 3) == interval(values, 500, 0.9, 3)
    assert interval(values, 500, 0.9, 3) != interval(values, 500, 0.9, 4)


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffucoder.evaluation import bootstrap

    values = np.random.default_rng(0).random(50)
    whole = interval(values, 1000, 0.95, 0)
    monkeypatch.setattr(bootstrap, "_CELLS", 50 * 7)
    assert interval(values, 1000, 0.95, 0) == whole


def test_constant_values_have_no_width() -> None:
    assert interval([0.5] * 9, 100, 0.95, 0) == (0.5, 0.5)
    assert cluster_interval([[0.5] * 9] * 3, 100, 0.95, 0) == (0.5, 0.5)


def test_differences_between_seeds_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    problems = generator.random((1, 200))
    alike = np.repeat(problems, 3, axis=0)
    apart = alike + np.array([[-0.2], [0.0], [0.2]])
    narrow = cluster_interval(alike, 4000, 0.95, 0)
    wide = cluster_interval(apart, 4000, 0.95, 0)
    # The mean of three draws of -0.2, 0, 0.2 spreads by 0.2 * sqrt(2/3) / sqrt(3).
    assert narrow[1] - narrow[0] < 0.1
    assert wide[1] - wide[0] == pytest.approx(2 * 1.96 * 0.2 * np.sqrt(2) / 3, rel=0.25)


def test_seeds_of_equal_size_are_clusters() -> None:
    table = np.random.default_rng(0).random((4, 60)) + np.arange(4)[:, None]
    expected = cluster_interval(table, 4000, 0.95, 0)
    assert seeds_interval(table.tolist(), 4000, 0.95, 0) == pytest.approx(expected, abs=0.1)


def test_each_seed_counts_once_however_many_problems_it_has() -> None:
    low, high = seeds_interval([[0.0] * 99, [1.0]], 4000, 0.95, 0)
    assert (low, high) == (0.0, 1.0)
    middle = seeds_interval([[0.0] * 99, [1.0]], 4000, 0.4, 0)
    assert middle == (0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        seeds_interval([[0.5], []], 100, 0.95, 0)


@pytest.mark.parametrize(
    ("values", "resamples", "confidence"),
    [([], 100, 0.95), ([1.0], 0, 0.95), ([1.0], 100, 1.0), ([1.0], 100, 0.0)],
)
def test_nonsense_is_an_error(values: list[float], resamples: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"values|resamples|confidence"):
        interval(values, resamples, confidence, 0)


def test_ratio_interval_pairs_units() -> None:
    denominators = [1.0, 5.0, 2.0, 9.0]
    numerators = [0.5 * value for value in denominators]
    assert ratio_interval(numerators, denominators, 300, 0.95, seed=0) == pytest.approx((0.5, 0.5))
    low, high = ratio_interval([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 2000, 0.95, seed=0)
    assert low < 1 < high and low >= 1 / 3 and high <= 3
    with pytest.raises(ValueError, match="confidence"):
        ratio_interval([1.0], [1.0], 10, 1.5, seed=0)
