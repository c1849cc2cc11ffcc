from collections.abc import Callable

import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch

MASK = 12


def test_every_token_is_scored_once_and_without_weight(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
    score_row: Callable[..., list[float]],
) -> None:
    batch = make_batch([2, 2], [8, 8])
    kept: list[Tensor] = []
    estimator = estimator_of("dream_coder", mask_token_id=MASK)
    views = views_of(lambda: kept.append(estimator.log_likelihood(model, batch, torch.Generator())))
    first_BL, second_BL = (view_BT[:, 2:] == MASK for view_BT in views)
    assert torch.equal(first_BL ^ second_BL, batch.completion_mask)
    for row in range(2):
        prompt, completion = batch.prompt_ids[row].tolist(), batch.completion_ids[row].tolist()
        halves = [
            score_row(prompt, completion, hidden[row].tolist()) for hidden in (first_BL, second_BL)
        ]
        expected_L = torch.tensor(halves).sum(0)
        torch.testing.assert_close(kept[0][row], expected_L, rtol=1e-6, atol=1e-6)


def test_times_cover_the_unit_interval(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
) -> None:
    batch = make_batch([2] * 200, [30] * 200)
    estimator = estimator_of("dream_coder", mask_token_id=MASK)
    with torch.no_grad():
        views = views_of(lambda: estimator.log_likelihood(model, batch, torch.Generator()))
    shares_B = (views[0][:, 2:] == MASK).double().mean(1)
    assert (shares_B < 0.15).sum() > 10 and (shares_B > 0.85).sum() > 10
