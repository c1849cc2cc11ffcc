"""The loss against full enumeration, on a vocabulary of two tokens.

A denoiser is a table here: for each of the 3^L noised rows, a distribution over the two tokens at
each position. Small enough to go through every mask, every row and every order.
"""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from diffucoder.diffusion.corruption import mask_tokens
from diffucoder.diffusion.denoising import corrupt
from diffucoder.diffusion.objectives import masked_cross_entropy, masked_diffusion_loss

LENGTH, MASK = 4, 2
PLACES = torch.tensor([3**place for place in range(LENGTH)])


def table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(3**LENGTH, LENGTH, 2, generator=generator)


def logits_of(table_SLV: Tensor, noised_BL: Tensor) -> Tensor:
    return table_SLV[(noised_BL * PLACES).sum(-1)]


def every_mask() -> Tensor:
    return torch.tensor(list(product([False, True], repeat=LENGTH)))


def expected_loss(table_SLV: Tensor, tokens_L: Tensor, low: float = 0.0) -> float:
    """The mean of `masked_diffusion_loss` over all masks, and over t ~ U(low, 1)."""
    # Each mask's term is a polynomial in t of degree L - 1: Gauss-Legendre is exact.
    nodes, weights = np.polynomial.legendre.leggauss(LENGTH)
    masks_BL = every_mask()
    tokens_BL = tokens_L.expand_as(masks_BL)
    logits_BLV = logits_of(table_SLV, mask_tokens(tokens_BL, masks_BL, MASK))
    hidden_B = masks_BL.sum(1)
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        t = low + (1 - low) * (node + 1) / 2
        probability_B = t ** hidden_B.double() * (1 - t) ** (LENGTH - hidden_B).double()
        for row in range(len(masks_BL)):
            one = slice(row, row + 1)
            loss, _ = masked_diffusion_loss(
                logits_BLV[one], tokens_BL[one], masks_BL[one], torch.tensor([t]), 1.0
            )
            total += weight / 2 * probability_B[row].item() * loss.item()
    return total


def any_order_loss(table_SLV: Tensor, tokens_L: Tensor) -> float:
    """-log p of the row, decoded one token at a time, as a mean over all orders."""
    losses = []
    for order in permutations(range(LENGTH)):
        noised_L = torch.full((LENGTH,), MASK)
        loss = 0.0
        for place in order:
            logits_V = logits_of(table_SLV, noised_L)[place]
            loss -= logits_V.double().log_softmax(-1)[tokens_L[place]].item()
            noised_L[place] = tokens_L[place]
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(3))
def test_expectation_is_the_mean_over_decoding_orders(seed: int) -> None:
    tokens_L = torch.tensor([1, 0, 0, 1])
    expected = any_order_loss(table(seed), tokens_L)
    assert expected_loss(table(seed), tokens_L) == pytest.approx(expected, rel=1e-5)


def test_expectation_bounds_the_likelihood() -> None:
    rows = torch.tensor(list(product([0, 1], repeat=LENGTH)))
    # Flat predictions leave little room between the bound and the likelihood.
    bounds = [math.exp(-expected_loss(table(0) / 8, row)) for row in rows]
    assert 0.9 < sum(bounds) < 1


def test_the_bound_is_tight_where_context_tells_nothing() -> None:
    blind_SLV = table(1)[:1].expand(3**LENGTH, LENGTH, 2)
    rows = torch.tensor(list(product([0, 1], repeat=LENGTH)))
    bounds = [math.exp(-expected_loss(blind_SLV, row)) for row in rows]
    assert sum(bounds) == pytest.approx(1, rel=1e-5)


def test_random_corruption_has_that_expectation() -> None:
    tokens_BL = torch.tensor([1, 0, 0, 1]).expand(100_000, LENGTH)
    noised = corrupt(
        tokens_BL,
        torch.ones_like(tokens_BL, dtype=torch.bool),
        MASK,
        torch.Generator().manual_seed(0),
    )
    logits_BLV = logits_of(table(0), noised.noised)
    scores_BL = logits_BLV.log_softmax(-1).gather(2, tokens_BL[..., None])[..., 0]
    losses_B = -(scores_BL * noised.masked).sum(1) / noised.times
    error = (losses_B.std() / len(losses_B) ** 0.5).item()
    expected = expected_loss(table(0), tokens_BL[0], low=1e-3)
    assert losses_B.mean().item() == pytest.approx(expected, abs=5 * error)
    loss, _ = masked_diffusion_loss(
        logits_BLV, tokens_BL, noised.masked, noised.times, len(tokens_BL)
    )
    assert loss.item() == pytest.approx(losses_B.mean().item(), rel=1e-4)


def test_metrics_are_sums_over_masked_positions() -> None:
    logits_BLV = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    tokens_BL = torch.tensor([[0, 0, 1]])
    masked_BL = torch.tensor([[True, True, False]])
    loss, sums = masked_diffusion_loss(logits_BLV, tokens_BL, masked_BL, torch.tensor([0.5]), 3.0)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert loss.item() == pytest.approx((right + wrong) / 0.5 / 3)
    assert sums["cross_entropy"].item() == pytest.approx(right + wrong)
    assert sums["correct"].item() == 1 and sums["masked"].item() == 2


def test_nothing_masked_is_no_loss() -> None:
    logits_NV = torch.zeros(0, 5, requires_grad=True)
    loss, sums = masked_cross_entropy(
        logits_NV, torch.zeros(0, dtype=torch.long), torch.zeros(0), 7.0
    )
    loss.backward()
    assert loss.item() == 0 and sums["masked"].item() == 0


def test_half_precision_logits_are_scored_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NV = torch.randn(50, 30, generator=generator).mul(4).bfloat16()
    targets_N = torch.randint(30, (50,), generator=generator)
    loss, _ = masked_cross_entropy(logits_NV, targets_N, torch.ones(50), 50.0)
    exact = -logits_NV.double().log_softmax(-1).gather(1, targets_N[:, None]).mean()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
