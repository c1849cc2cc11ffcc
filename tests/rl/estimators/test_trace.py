from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import generate
from diffucoder.errors import BadData
from diffucoder.rl.batch import CompletionBatch, from_canvas

MASK, END, PAD = 12, 10, 11
Batches = Callable[..., CompletionBatch]


def test_each_token_is_scored_where_it_was_revealed(
    make_batch: Batches, model: PreTrainedModel, score_row: Callable[..., list[float]]
) -> None:
    batch = make_batch([3], [5])
    order = [2, 0, 1, 0, 2]
    batch = replace(batch, reveal_step=torch.tensor([order]))
    estimator = estimator_of("trace", mask_token_id=MASK, steps=3, group=1)
    estimate_L = estimator.log_likelihood(model, batch, torch.Generator())[0]
    prompt, completion = batch.prompt_ids[0].tolist(), batch.completion_ids[0].tolist()
    for place, step in enumerate(order):
        state = [other >= step for other in order]
        expected = score_row(prompt, completion, state)[place]
        assert estimate_L[place].item() == pytest.approx(expected, rel=1e-5)


def test_steps_of_a_group_share_the_state_before_it(
    make_batch: Batches, model: PreTrainedModel, views_of: Callable[..., list[Tensor]]
) -> None:
    batch = make_batch([3], [6])
    batch = replace(batch, reveal_step=torch.tensor([[0, 1, 2, 3, 4, 4]]))
    estimator = estimator_of("trace", mask_token_id=MASK, steps=5, group=2)
    views = views_of(lambda: estimator.log_likelihood(model, batch, torch.Generator()))
    hidden = [(view_BT[0, 3:] == MASK).tolist() for view_BT in views]
    assert hidden == [[True] * 6, [False] * 2 + [True] * 4, [False] * 4 + [True] * 2]


def test_is_the_probability_with_which_the_sampler_drew(model: PreTrainedModel) -> None:
    """What a decode at temperature 1 drew is scored as the decoder's own distribution had it."""
    model.config.max_position_embeddings = 64
    config = DecodingParams(rule="entropy", max_new_tokens=6, steps=3, temperature=1.0, eps=0)
    prompts = [[1, 2], [3, 4, 5]]
    made = generate(model, prompts, config, MASK, END, PAD, torch.Generator().manual_seed(3))
    batch = from_canvas(prompts, made.canvas, END, PAD, made.reveal_step)
    estimator = estimator_of("trace", mask_token_id=MASK, steps=3, group=1)
    estimate_BL = estimator.log_likelihood(model, batch, torch.Generator())
    for row, prompt in enumerate(prompts):
        for step in range(3):
            noised = [
                MASK if at >= step else token
                for token, at in zip(
                    made.canvas[row].tolist(), made.reveal_step[row].tolist(), strict=True
                )
            ]
            with torch.no_grad():
                logits_TV = model(torch.tensor([prompt + noised])).logits[0].double()
            for place in (made.reveal_step[row] == step).nonzero()[:, 0].tolist():
                if not batch.completion_mask[row, place]:
                    continue
                token = made.canvas[row, place]
                score = logits_TV[len(prompt) + place - 1].log_softmax(-1)[token]
                assert estimate_BL[row, place].item() == pytest.approx(score.item(), rel=1e-5)


def test_batches_without_a_usable_trace_are_refused(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    estimator, batch = estimator_of("trace", mask_token_id=MASK, steps=2), make_batch([3], [4])
    with pytest.raises(BadData, match="no reveal_step"):
        estimator.log_likelihood(model, batch, torch.Generator())
    late = replace(batch, reveal_step=torch.tensor([[0, 1, 2, 1]]))
    with pytest.raises(BadData, match="from 0 to 2, expected 0 to 1"):
        estimator.log_likelihood(model, late, torch.Generator())
