from collections.abc import Callable

import pytest
import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch

MASK = 12


def test_scores_every_token_with_everything_hidden(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    score_row: Callable[..., list[float]],
) -> None:
    prompts, completions = [2, 4, 1], [6, 3, 1]
    batch = make_batch(prompts, completions)
    draws = torch.Generator().manual_seed(0)
    before = draws.get_state()
    estimate_BL = estimator_of("full_mask", mask_token_id=MASK).log_likelihood(model, batch, draws)
    assert torch.equal(draws.get_state(), before)
    for row, length in enumerate(completions):
        prompt = batch.prompt_ids[row, 4 - prompts[row] :].tolist()
        completion = batch.completion_ids[row, :length].tolist()
        expected_L = torch.tensor(score_row(prompt, completion, [True] * length))
        torch.testing.assert_close(estimate_BL[row, :length], expected_L, rtol=1e-6, atol=1e-6)
        assert not estimate_BL[row, length:].any()


def test_padding_changes_nothing(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    estimator, draws = estimator_of("full_mask", mask_token_id=MASK), torch.Generator()
    plain_BL = estimator.log_likelihood(model, make_batch([2, 4], [6, 3]), draws)
    padded_BL = estimator.log_likelihood(model, make_batch([2, 4], [6, 3], left=3, right=2), draws)
    torch.testing.assert_close(padded_BL[:, :6], plain_BL)
    assert not padded_BL[:, 6:].any()


def test_prompt_masking_hides_some_of_the_prompt_and_none_of_the_padding(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
) -> None:
    batch = make_batch([40, 10] * 20, [3, 3] * 20)
    estimator = estimator_of("full_mask", mask_token_id=MASK, prompt_masking=0.15)
    with torch.no_grad():
        (view_BT,) = views_of(lambda: estimator.log_likelihood(model, batch, torch.Generator()))
    hidden_BQ = view_BT[:, :40] == MASK
    assert not (hidden_BQ & ~batch.prompt_mask).any()
    assert hidden_BQ[batch.prompt_mask].double().mean().item() == pytest.approx(0.15, abs=0.03)
    assert (view_BT[:, 40:] == MASK).all()


def test_prompt_masking_is_drawn_anew_and_changes_the_scores(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    batch, draws = make_batch([9], [4]), torch.Generator().manual_seed(0)
    estimator = estimator_of("full_mask", mask_token_id=MASK, prompt_masking=0.5)
    first_BL, second_BL = (estimator.log_likelihood(model, batch, draws) for _ in range(2))
    assert not torch.allclose(first_BL, second_BL)
