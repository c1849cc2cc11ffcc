import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import seeded
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.adaptation import AdaptationParams, PhaseParams
from diffucoder.data.packing import ShardReader
from diffucoder.data.shards import Shards
from diffucoder.data.tokenizer import special_ids
from diffucoder.diffusion.denoising import NoisedBatch, corrupt, denoising_loss
from diffucoder.diffusion.options import CartWeighting, InverseTimeWeighting, Weighting
from diffucoder.engine.loop import MicroBatch
from diffucoder.model import set_bidirectional
from diffucoder.training.adaptation import AdaptationBatch, adaptation_loss, preparer
from diffucoder.training.packed import packed_rows

INVERSE_T = InverseTimeWeighting(kind="inverse_t")
CART = CartWeighting(kind="cart")


@pytest.fixture
def phase(parameters: Callable[..., dict[str, Any]]) -> PhaseParams:
    params = AdaptationParams(**parameters("test", "adaptation"))
    return params.phase(params.pretraining, anneal_steps=4)


@pytest.fixture
def batch(
    phase: PhaseParams, shards: Shards, tokenizer: PreTrainedTokenizerFast
) -> Callable[..., MicroBatch[AdaptationBatch]]:
    rows = packed_rows(ShardReader(shards.path), seed=0)(0, 6)
    prepare = preparer(phase, special_ids(tokenizer).mask, lambda step: seeded(step)[0])

    def make(step: int, part: slice = slice(0, 6)) -> MicroBatch[AdaptationBatch]:
        return prepare(rows[part], step, seeded(*range(*part.indices(6))))

    return make


def test_attention_opens_over_the_annealing_and_is_then_left_to_the_documents(
    batch: Callable[..., MicroBatch[AdaptationBatch]],
) -> None:
    shares = [batch(step).batch.future_mask.float().mean().item() for step in range(3)]
    assert shares == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    assert batch(3).batch.future_mask is None


@pytest.mark.parametrize("weighting", [INVERSE_T, CART])
@pytest.mark.parametrize("step", [1, 9])
def test_micro_batches_add_up_to_the_batch(
    model: PreTrainedModel,
    batch: Callable[..., MicroBatch[AdaptationBatch]],
    weighting: Weighting,
    step: int,
) -> None:
    def gradient(parts: list[MicroBatch[AdaptationBatch]], denominator: float) -> Tensor:
        model.zero_grad()
        for part in parts:
            adaptation_loss(weighting, model, part.batch, denominator)[0].backward()
        return model.get_input_embeddings().weight.grad.clone()

    whole = batch(step)
    parts = [batch(step, slice(0, 2)), batch(step, slice(2, 6))]
    assert sum(part.denominator for part in parts) == whole.denominator
    torch.testing.assert_close(
        gradient(parts, whole.denominator), gradient([whole], whole.denominator)
    )


@pytest.mark.parametrize("weighting", [INVERSE_T, CART])
def test_packed_documents_lose_what_they_lose_alone(
    model: PreTrainedModel, weighting: Weighting
) -> None:
    def alone(length: int, seed: int) -> NoisedBatch:
        tokens_BL = torch.randint(0, 250, (1, length), generator=seeded(seed)[0])
        maskable_BL = torch.ones(1, length, dtype=torch.bool)
        maskable_BL[:, 0] = False
        row = corrupt(tokens_BL, maskable_BL, 258, seeded(seed)[0])
        return replace(row, times=torch.tensor([0.6]))

    first, second = alone(9, 1), alone(7, 2)
    side_by_side = {
        name: torch.cat([vars(first)[name], vars(second)[name]], dim=-1) for name in vars(first)
    } | {"times": first.times, "document_ids": torch.tensor([[3] * 9 + [4] * 7])}
    packed = AdaptationBatch(NoisedBatch(**side_by_side), future_mask=None)
    set_bidirectional(model)
    together, _ = adaptation_loss(weighting, model, packed, 14.0)
    apart = sum(denoising_loss(model, row, weighting, 14.0)[0] for row in (first, second))
    torch.testing.assert_close(together, apart)


def test_annealed_loss_leaks_nothing_across_documents(model: PreTrainedModel) -> None:
    tokens_BL = torch.arange(1, 13)[None]
    masked_BL = torch.zeros(1, 12, dtype=torch.bool)
    masked_BL[:, 8] = True
    noised = NoisedBatch(
        tokens=tokens_BL,
        noised=tokens_BL.masked_fill(masked_BL, 200),
        masked=masked_BL,
        maskable=masked_BL,
        times=torch.tensor([0.5]),
        document_ids=torch.tensor([[0] * 6 + [1] * 6]),
    )
    future_mask = torch.rand(12, 12, generator=seeded(0)[0]) < 0.7
    # With a head of its own, the embedding's gradient comes from the input alone.
    head = torch.nn.Linear(32, model.config.vocab_size, bias=False)
    model.set_output_embeddings(head)
    adaptation_loss(INVERSE_T, model, AdaptationBatch(noised, future_mask), 1.0)[0].backward()
    reached = model.get_input_embeddings().weight.grad.abs().sum(-1) > 0
    assert not reached[tokens_BL[0, :6]].any()
    assert reached[tokens_BL[0, 6:8]].all()


def test_the_loss_of_a_clueless_model_is_unbiased(model: PreTrainedModel) -> None:
    # Equal logits cost ln V a token; the mean over draws must be that, whatever the times.
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    tokens_BL = torch.randint(0, 250, (4000, 16), generator=seeded(0)[0])
    maskable_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    maskable_BL[:, :4] = False
    row = corrupt(tokens_BL, maskable_BL, 258, seeded(1)[0])
    with torch.no_grad():
        loss, metrics = denoising_loss(model, row, INVERSE_T, float(maskable_BL.sum()))
    chance = math.log(model.config.vocab_size)
    assert loss.item() == pytest.approx(chance, rel=0.05)
    assert metrics["cross_entropy"].item() == pytest.approx(chance, rel=1e-4)
