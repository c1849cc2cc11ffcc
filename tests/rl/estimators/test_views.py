"""Rows that look alike are computed once, and nothing else changes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from choices import estimator_of
from helpers import seeded
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View, view_log_probs

MASK = 12
Batches = Callable[..., CompletionBatch]


@pytest.fixture
def estimator() -> Estimator:
    return estimator_of("coupled", mask_token_id=MASK, pairs=2)


@pytest.fixture
def group(make_batch: Batches) -> CompletionBatch:
    """Three different completions of one prompt and two of another, on canvases of one length."""
    batch = make_batch([3, 3, 3, 2, 2], [6, 4, 5, 2, 6])
    prompt_BQ = batch.prompt_ids[[0, 0, 0, 3, 3]]
    canvas_BL = torch.ones_like(batch.completion_mask)
    return replace(batch, prompt_ids=prompt_BQ, canvas_mask=canvas_BL)


def test_completions_of_a_prompt_share_the_view_that_hides_everything(
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
    estimator: Estimator,
    group: CompletionBatch,
) -> None:
    shown = views_of(lambda: estimator.log_likelihood(model, group, seeded(*range(5))))
    assert [len(view_BT) for view_BT in shown] == [2, 5, 5, 5, 5]
    assert torch.equal(shown[0][:, :3], group.prompt_ids[[0, 3]])
    assert (shown[0][:, 3:] == MASK).all()


def test_shared_rows_give_the_scores_and_gradients_of_rows_alone(
    model: PreTrainedModel, estimator: Estimator, group: CompletionBatch
) -> None:
    slopes_BL = torch.randn(5, 6, generator=torch.Generator().manual_seed(7))

    def gradients() -> list[Tensor]:
        found = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        return found

    together_BL = estimator.log_likelihood(model, group, seeded(*range(5)))
    (together_BL * slopes_BL).sum().backward()
    got = gradients()
    alone = []
    for row in range(5):
        one_BL = estimator.log_likelihood(model, group.rows(slice(row, row + 1)), seeded(row))
        (one_BL * slopes_BL[row]).sum().backward()
        alone.append(one_BL.detach())
    torch.testing.assert_close(together_BL.detach(), torch.cat(alone), rtol=1e-6, atol=1e-6)
    for summed, expected in zip(got, gradients(), strict=True):
        torch.testing.assert_close(summed, expected, rtol=1e-4, atol=1e-6)


def test_what_is_not_asked_scores_zero(model: PreTrainedModel, group: CompletionBatch) -> None:
    hidden_BL = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    asked_BL = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    scored_BL = view_log_probs(model, group, View(hidden_BL, scored=asked_BL), MASK)
    assert torch.equal(scored_BL != 0, hidden_BL & asked_BL & group.completion_mask)
    nothing_BL = view_log_probs(model, group, View(hidden_BL & False), MASK)
    assert nothing_BL.shape == hidden_BL.shape and not nothing_BL.any()


def test_rows_that_attend_otherwise_are_not_shared(
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
    estimator: Estimator,
    group: CompletionBatch,
) -> None:
    """Without a canvas the completion alone is attended to, and lengths differ."""
    short = replace(group, canvas_mask=None)
    shown = views_of(lambda: estimator.log_likelihood(model, short, seeded(*range(5))))
    assert len(shown[0]) == 5
    padded = replace(group, prompt_mask=group.prompt_mask.clone())
    padded.prompt_mask[1, 0] = False
    shown = views_of(lambda: estimator.log_likelihood(model, padded, seeded(*range(5))))
    assert len(shown[0]) == 3
