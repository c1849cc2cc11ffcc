import math
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.decoding import rules

PROBS_NV = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.9, 0.1]])


def budget(*count: int, ratio: float = 0.0, threshold: float = 1.0) -> rules.Budget:
    return rules.Budget(torch.tensor(count), torch.full((len(count),), ratio), threshold)


def test_confidence_by_hand() -> None:
    chosen_N, uniform_N = torch.tensor([1, 1]), torch.tensor([0.25, 0.75])
    confidence = {
        name: rule.confidence(PROBS_NV, chosen_N, uniform_N).tolist()
        for name, rule in rules.RULES.items()
    }
    assert confidence["maskgit_plus"] == confidence["threshold"] == pytest.approx([0.3, 0.9])
    assert confidence["origin"] == [-0.25, -0.75]
    assert confidence["topk_margin"] == pytest.approx([0.2, 0.8])
    entropies = [
        0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2),
        0.9 * math.log(0.9) + 0.1 * math.log(0.1),
    ]
    assert confidence["entropy"] == pytest.approx(entropies)


@given(steps=st.integers(1, 64), eps=st.sampled_from([0.0, 1e-3, 0.1]))
def test_fraction_follows_evenly_falling_times(steps: int, eps: float) -> None:
    times = torch.linspace(1, eps, steps + 1, dtype=torch.float64).tolist()
    for step in range(steps - 1):
        expected = 1 - times[step + 1] / times[step]
        assert rules.reveal_fraction(step, steps, eps) == pytest.approx(expected, rel=1e-9)
    assert rules.reveal_fraction(steps - 1, steps, eps) == 1.0


@given(length=st.integers(1, 4096))
def test_as_many_steps_as_tokens_reveal_one_each(length: int) -> None:
    for step in {0, 1, length // 3, length // 2, length - 2, length - 1} & set(range(length)):
        fraction = rules.reveal_fraction(step, length, eps=0.0)
        assert rules.reveal_count(length - step, fraction) == 1


@given(masks=st.integers(0, 300), steps=st.integers(2, 300), data=st.data())
def test_count_is_the_floor_of_the_rows_own_masks(
    masks: int, steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps - 2))
    t, s = 1 - Fraction(step, steps), 1 - Fraction(step + 1, steps)
    fraction = rules.reveal_fraction(step, steps, eps=0.0)
    assert rules.reveal_count(masks, fraction) == math.floor(masks * (1 - s / t))


def test_reveals_the_most_confident_masks_and_the_leftmost_of_equals() -> None:
    confidence_BL = torch.tensor([[9.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    masked_BL = torch.tensor([[False, True, True, True], [True, False, True, True]])
    revealed_BL = rules.most_confident(confidence_BL, masked_BL, budget(2, 2))
    assert revealed_BL.tolist() == [[False, False, True, True], [True, False, True, False]]


def test_reveals_all_or_nothing_when_so_asked() -> None:
    masked_BL = torch.tensor([[False, True, True], [True, True, True]])
    confidence_BL = torch.full((2, 3), -5.0)
    revealed_BL = rules.most_confident(confidence_BL, masked_BL, budget(2, 0))
    assert revealed_BL.tolist() == [[False, True, True], [False, False, False]]


def test_lots_reveal_their_share_of_the_masks() -> None:
    masked_BL = torch.ones(1, 40_000, dtype=torch.bool)
    masked_BL[0, ::2] = False
    uniform_N = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    confidence_BL = rules.random_score(PROBS_NV, torch.tensor([0]), uniform_N)[None]
    revealed_BL = rules.bernoulli(confidence_BL, masked_BL, budget(0, ratio=0.3))
    assert not (revealed_BL & ~masked_BL).any()
    # Four standard deviations of a binomial count.
    assert abs(int(revealed_BL.sum()) - 6_000) < 4 * math.sqrt(20_000 * 0.3 * 0.7)


@pytest.mark.parametrize(
    ("count", "threshold", "revealed"),
    [
        (0, 0.6, [False, True, False, True]),  # all that are sure, the one at the threshold too
        (0, 0.95, [False, True, False, False]),  # at least the surest
        (3, 0.6, [True, True, False, True]),  # at least the count
    ],
)
def test_threshold_reveals_what_is_sure_and_the_count_at_least(
    count: int, threshold: float, revealed: list[bool]
) -> None:
    confidence_BL = torch.tensor([[0.5, 0.9, 0.99, 0.6]])
    masked_BL = torch.tensor([[True, True, False, True]])
    chosen_BL = rules.confident_enough(confidence_BL, masked_BL, budget(count, threshold=threshold))
    assert chosen_BL[0].tolist() == revealed


def test_perturbed_choice_is_a_softmax_draw_without_replacement() -> None:
    confidence = [0.5, 1.0, -0.3, 0.2]
    alg_temp, rows = 0.7, 40_000
    uniform_BL = torch.rand(rows, 4, generator=torch.Generator().manual_seed(0))
    perturbed_BL = rules.perturb(torch.tensor([confidence] * rows), uniform_BL, alg_temp)
    revealed_BL = rules.most_confident(
        perturbed_BL, torch.ones(rows, 4, dtype=torch.bool), budget(*[2] * rows)
    )
    weights = [math.exp(c / alg_temp) for c in confidence]
    p = [w / sum(weights) for w in weights]
    chi_square = 0.0
    for i, j in combinations(range(4), 2):
        expected = rows * (p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]))
        seen = int((revealed_BL[:, i] & revealed_BL[:, j]).sum())
        chi_square += (seen - expected) ** 2 / expected
    # 0.1 % point at 5 degrees of freedom.
    assert chi_square < 20.52


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_perturbation_is_finite_at_the_ends(uniform: float) -> None:
    assert rules.perturb(torch.zeros(1, 1), torch.full((1, 1), uniform), 0.1).isfinite().all()
