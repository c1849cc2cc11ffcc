"""The published coupled-GRPO loss, written out again from its formula.

Nothing of the project enters the expected values but the masks it drew: log probabilities come
from a plain forward pass over one completion at a time, sums are Python's, in double precision.
"""

import math
from collections.abc import Callable

import torch
from choices import estimator_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.objectives.grpo import clipped_loss

VOCABULARY, MASK = 13, 12


def plain_scores(
    model: PreTrainedModel, prompt: list[int], completion: list[int], hidden: list[bool]
) -> list[float]:
    noised = [MASK if h else token for h, token in zip(hidden, completion, strict=True)]
    with torch.no_grad():
        logits_TV = model(torch.tensor([prompt + noised])).logits[0].double()
    logs_TV = logits_TV - logits_TV.exp().sum(-1, keepdim=True).log()
    return [
        logs_TV[len(prompt) + place - 1, token].item() for place, token in enumerate(completion)
    ]


def published_estimate(
    model: PreTrainedModel,
    prompt: list[int],
    completion: list[int],
    pairs: list[tuple[float, list[bool]]],
) -> list[float]:
    full = plain_scores(model, prompt, completion, [True] * len(completion))
    totals = list(full)
    for t, first in pairs:
        second = [not h for h in first]
        one = plain_scores(model, prompt, completion, first)
        two = plain_scores(model, prompt, completion, second)
        for place, hidden in enumerate(first):
            totals[place] += one[place] / t if hidden else two[place] / (1 - t)
    return [total / (len(pairs) + 1) for total in totals]


def published_loss(
    new: list[float],
    old: list[float],
    ref: list[float],
    advantage: float,
    epsilon: float,
    beta: float,
) -> float:
    total = 0.0
    for n, o, r in zip(new, old, ref, strict=True):
        ratio = math.exp(n - o)
        clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
        kl = math.exp(r - n) - (r - n) - 1
        total -= min(ratio * advantage, clipped * advantage) - beta * kl
    return total


lengths = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=3)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=lengths,
    low=st.floats(0.2, 0.5),
    width=st.floats(0.0, 0.3),
    pairs=st.integers(1, 2),
    epsilon=st.floats(0.05, 0.5),
    beta=st.floats(0.0, 0.5),
    seed=st.integers(0, 2**31),
)
def test_estimates_and_loss_are_the_published_ones(
    make_batch: Callable[..., CompletionBatch],
    make_model: Callable[..., PreTrainedModel],
    lengths: list[tuple[int, int]],
    low: float,
    width: float,
    pairs: int,
    epsilon: float,
    beta: float,
    seed: int,
) -> None:
    batch = make_batch([q for q, _ in lengths], [n for _, n in lengths], seed % 100)
    estimator = estimator_of("coupled", mask_token_id=MASK, pairs=pairs, low=low, high=low + width)
    policy = make_model(VOCABULARY)
    # Near enough for ratios on both sides of the clip range.
    others = []
    for shift in (1, 2):
        other = make_model(VOCABULARY)
        for weight, noise in zip(
            other.parameters(), make_model(VOCABULARY, seed=shift).parameters(), strict=True
        ):
            weight.data += 0.01 * (noise.data - weight.data)
        others.append(other)

    def draws() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed + row) for row in range(len(lengths))]

    estimates = [estimator.log_likelihood(m, batch, draws()) for m in (policy, *others)]
    views = list(estimator.views(batch, draws()))
    advantages_B = torch.linspace(-1.5, 1.0, len(lengths))
    denominator = float(batch.completion_mask.sum())
    loss, _ = clipped_loss(
        estimates[0],
        estimates[1],
        advantages_B,
        batch.completion_mask,
        epsilon,
        denominator,
        estimates[2],
        beta,
    )
    expected_loss = 0.0
    for row, (_, count) in enumerate(lengths):
        prompt = batch.prompt_ids[row][batch.prompt_mask[row]].tolist()
        completion = batch.completion_ids[row, :count].tolist()
        drawn = [
            (view.probability[row].item(), view.masked[row, :count].tolist())
            for view in views[1::2]
        ]
        expected = [
            published_estimate(model, prompt, completion, drawn) for model in (policy, *others)
        ]
        for estimate_BL, values in zip(estimates, expected, strict=True):
            assert estimate_BL.dtype == torch.float32
            torch.testing.assert_close(
                estimate_BL[row, :count], torch.tensor(values), rtol=1e-6, atol=1e-6
            )
        expected_loss += published_loss(*expected, advantages_B[row].item(), epsilon, beta)
    # Rounding of the estimates, up to some tens of nats in float32, is all that the loss adds.
    scale = 1 + abs(expected_loss / denominator)
    assert abs(loss.item() - expected_loss / denominator) < 1e-5 * scale


@settings(max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    epsilon=st.floats(0.05, 0.9),
    beta=st.floats(0.0, 1.0),
    spread=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
)
def test_the_loss_agrees_to_a_millionth_over_random_ratios_and_masks(
    shape: tuple[int, int], epsilon: float, beta: float, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old_BL = -3 * torch.rand(shape, generator=generator)
    new_BL, ref_BL = (
        old_BL + spread * torch.randn(shape, generator=generator).clamp(-2, 2) for _ in range(2)
    )
    mask_BL = torch.rand(shape, generator=generator) < 0.7
    mask_BL[0, 0] = True
    advantages_B = torch.randn(shape[0], generator=generator)
    denominator = float(mask_BL.sum())
    loss, metrics = clipped_loss(
        new_BL, old_BL, advantages_B, mask_BL, epsilon, denominator, ref_BL, beta
    )

    def real(scores_BL: Tensor, row: int) -> list[float]:
        return scores_BL[row][mask_BL[row]].double().tolist()

    rows = [
        published_loss(
            real(new_BL, row),
            real(old_BL, row),
            real(ref_BL, row),
            advantages_B[row].item(),
            epsilon,
            beta,
        )
        for row in range(shape[0])
    ]
    torch.testing.assert_close(loss.item(), math.fsum(rows) / denominator, rtol=1e-6, atol=1e-6)
    assert metrics["kl"] >= 0 and 0 <= metrics["clip_ratio"] <= 1
