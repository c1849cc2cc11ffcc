"""Coupled against decoupled, over all masks of a short completion."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.exact import subset_scores

MASK, T = 12, 0.3
Batches = Callable[..., CompletionBatch]


def scores_by_set(model: PreTrainedModel, batch: CompletionBatch) -> dict[tuple[bool, ...], Tensor]:
    masked_SL, scores_SL = subset_scores(model, batch, MASK)
    table = dict(zip(map(tuple, masked_SL.tolist()), scores_SL, strict=True))
    return table | {(False,) * masked_SL.shape[1]: torch.zeros_like(scores_SL[0])}


def chance(hidden: tuple[bool, ...], t: float) -> float:
    return t ** sum(hidden) * (1 - t) ** (len(hidden) - sum(hidden))


def moments(weighted: list[tuple[float, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and variance of a distribution over a few values."""
    mean_L = sum(p * value_L for p, value_L in weighted)
    return mean_L, sum(p * (value_L - mean_L) ** 2 for p, value_L in weighted)


def exact(model: PreTrainedModel, batch: CompletionBatch, name: str) -> tuple[Tensor, Tensor]:
    """Mean and variance of a pair without the full view at time T, all masks enumerated."""
    table = scores_by_set(model, batch)
    if name == "coupled":
        pairs = [(chance(first, T), first, tuple(not h for h in first)) for first in table]
    else:
        pairs = [
            (chance(first, T) * chance(second, 1 - T), first, second)
            for first, second in product(table, repeat=2)
        ]
    return moments([(p, (table[a] / T + table[b] / (1 - T)) / 2) for p, a, b in pairs])


def drawn(model: PreTrainedModel, batch: CompletionBatch, name: str, count: int) -> Tensor:
    rows = batch.rows(torch.zeros(count, dtype=torch.long))
    estimator = estimator_of(name, mask_token_id=MASK, low=T, high=T, full_view=False)
    with torch.no_grad():
        return estimator.log_likelihood(model, rows, torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("name", ["coupled", "decoupled"])
def test_has_the_mean_and_variance_of_enumeration(
    make_batch: Batches, model: PreTrainedModel, name: str
) -> None:
    batch = make_batch([2], [4])
    mean_L, variance_L = exact(model, batch, name)
    estimates_KL = drawn(model, batch, name, 2000)
    error_L = (variance_L / 2000).sqrt()
    assert ((estimates_KL.mean(0) - mean_L).abs() < 4 * error_L).all()
    torch.testing.assert_close(estimates_KL.var(0), variance_L, rtol=0.15, atol=1e-9)


def test_coupling_leaves_the_mean_and_takes_variance_away(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    batch = make_batch([2], [5])
    (coupled_L, less_L), (decoupled_L, more_L) = (
        exact(model, batch, name) for name in ("coupled", "decoupled")
    )
    torch.testing.assert_close(coupled_L, decoupled_L)
    # Halves that never both score a token covary by minus the product of their means.
    table = scores_by_set(model, batch)
    first_L, second_L = (
        sum(chance(hidden, t) * scores_L / t for hidden, scores_L in table.items())
        for t in (T, 1 - T)
    )
    torch.testing.assert_close(more_L - less_L, first_L * second_L / 2)
    assert (less_L < more_L).all()


def test_decoupled_views_are_the_coupled_ones_taken_alone(make_batch: Batches) -> None:
    batch = make_batch([2], [4]).rows(torch.zeros(1000, dtype=torch.long))
    estimator = estimator_of("decoupled", mask_token_id=MASK, low=T, high=T)
    views = estimator.views(batch, torch.Generator().manual_seed(0))
    full, first, second = (view.masked for view in views)
    assert full.all()
    assert first.double().mean().item() == pytest.approx(T, abs=0.02)
    assert second.double().mean().item() == pytest.approx(1 - T, abs=0.02)
    both = (first & second).double().mean().item()
    assert both == pytest.approx(T * (1 - T), abs=0.02), "independent of each other"


def test_the_published_weights_count_a_pair_once(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    batch = make_batch([2], [4]).rows(torch.zeros(1000, dtype=torch.long))
    mean = [
        estimator_of("coupled", mask_token_id=MASK, full_view=full)
        .log_likelihood(model, batch, torch.Generator().manual_seed(0))
        .mean()
        .item()
        for full in (True, False)
    ]
    even = -torch.tensor(13.0).log().item()
    assert mean[0] == pytest.approx(1.5 * even, rel=0.02)
    assert mean[1] == pytest.approx(even, rel=0.02)
