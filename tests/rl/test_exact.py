from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from transformers import PreTrainedModel

from diffucoder.errors import BadData
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.exact import exact_elbo, subset_scores

MASK, END, PAD = 12, 10, 11
Batches = Callable[..., CompletionBatch]
Scores = Callable[..., list[float]]


def test_is_the_mean_over_all_orders_of_writing(
    make_batch: Batches, model: PreTrainedModel, score_row: Scores
) -> None:
    batch = make_batch([2], [4])
    prompt, completion = batch.prompt_ids[0].tolist(), batch.completion_ids[0].tolist()
    table = {
        hidden: score_row(prompt, completion, list(hidden))
        for hidden in {tuple(k >> i & 1 == 1 for i in range(4)) for k in range(16)}
    }
    orders = list(permutations(range(4)))
    expected = [0.0] * 4
    for order in orders:
        for step, place in enumerate(order):
            hidden = tuple(other in order[step:] for other in range(4))
            expected[place] += table[hidden][place] / len(orders)
    elbo_L = exact_elbo(model, batch, MASK)[0]
    torch.testing.assert_close(elbo_L.tolist(), expected, rtol=1e-5, atol=1e-5)


def test_part_of_the_times_is_an_integral_over_them(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    batch = make_batch([2], [4])
    masked_SL, scores_SL = subset_scores(model, batch, MASK)
    sizes_S = masked_SL.sum(1)
    edges = torch.linspace(0.2, 0.8, 2001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    chances_ST = middles ** (sizes_S - 1)[:, None] * (1 - middles) ** (4 - sizes_S)[:, None]
    expected_L = (chances_ST.mean(1)[:, None] * scores_SL).sum(0)
    torch.testing.assert_close(exact_elbo(model, batch, MASK, 0.2, 0.8)[0], expected_L)


def test_rows_of_unequal_length_are_enumerated_apart(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    both_BL = exact_elbo(model, make_batch([2, 4], [5, 3], right=2), MASK)
    for row, length in enumerate([5, 3]):
        alone_L = exact_elbo(model, make_batch([2, 4], [5, 3]).rows(slice(row, row + 1)), MASK)[0]
        torch.testing.assert_close(both_BL[row, :length], alone_L[:length], rtol=1e-5, atol=1e-6)
        assert not both_BL[row, length:].any()


def test_filler_is_hidden_too_and_not_scored(model: PreTrainedModel) -> None:
    batch = from_canvas([[3, 4]], torch.tensor([[1, END, PAD, PAD]]), END, PAD)
    masked_SL, scores_SL = subset_scores(model, batch, MASK)
    assert len(masked_SL) == 15 and masked_SL[:, 2:].any()
    assert scores_SL[:, :2].any() and not scores_SL[:, 2:].any()


def test_long_completions_are_refused(make_batch: Batches, model: PreTrainedModel) -> None:
    with pytest.raises(BadData, match=r"17 positions has 2\^17 masks"):
        exact_elbo(model, make_batch([1], [17]), MASK)
