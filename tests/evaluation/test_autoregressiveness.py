"""AR-ness of small orders, worked by hand."""

import random

import pytest

from diffucoder.evaluation.autoregressiveness import global_ar, local_ar, order_from_steps


def test_left_to_right_is_one_on_both() -> None:
    for k in (1, 2, 5):
        assert local_ar(range(8), k) == 1.0
        assert global_ar(range(8), k) == 1.0
        assert local_ar(range(3, 11), k) == 1.0


def test_right_to_left() -> None:
    order = [3, 2, 1, 0]
    assert local_ar(order, 1) == 0.0
    # Only the last reveal is the left-most hidden one; the last two are among the two left-most.
    assert global_ar(order, 1) == 1 / 4
    assert global_ar(order, 2) == 2 / 4
    assert global_ar(order, 4) == 1.0


def test_a_mixed_order_by_hand() -> None:
    order = [0, 1, 4, 5, 6, 2, 3]
    # Steps after the first: 1 follows 0, 4 does not, 5 and 6 follow, 2 does not, 3 follows.
    assert local_ar(order, 1) == pytest.approx(4 / 6)
    # Runs of two: (1,4) (4,5) (5,6) (6,2) (2,3) over pairs of the marks 1 0 1 1 0 1.
    assert local_ar(order, 2) == pytest.approx(1 / 5)
    assert local_ar(order, 3) == 0.0
    # Hidden, left-most first: 0 | 1 | 2 3 4 -> 4 is third | 5 third | 6 third | 2 | 3.
    assert global_ar(order, 1) == pytest.approx(4 / 7)
    assert global_ar(order, 2) == pytest.approx(4 / 7)
    assert global_ar(order, 3) == 1.0


def test_longer_runs_are_rarer_and_wider_windows_easier() -> None:
    order = list(range(40))
    random.Random(0).shuffle(order)
    local = [local_ar(order, k) for k in range(1, 6)]
    wide = [global_ar(order, k) for k in range(1, 41)]
    assert local == sorted(local, reverse=True)
    assert wide == sorted(wide)
    assert wide[-1] == 1.0


def test_order_from_reveal_steps() -> None:
    assert order_from_steps([2, 0, 1]) == [1, 2, 0]
    assert order_from_steps([5, 9, 7]) == [0, 2, 1]
    with pytest.raises(ValueError, match="one token per step"):
        order_from_steps([0, 0, 1])


def test_what_has_no_order_is_an_error() -> None:
    with pytest.raises(ValueError, match="k must be"):
        global_ar([0, 1], 0)
    with pytest.raises(ValueError, match="no steps"):
        global_ar([], 1)
    with pytest.raises(ValueError, match="revealed twice"):
        local_ar([0, 0, 1], 1)
    with pytest.raises(ValueError, match="more than 3 steps"):
        local_ar([0, 1, 2], 3)
