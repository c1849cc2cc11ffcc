from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.diffusion.denoising import NoisedBatch, corrupt, denoising_loss
from diffucoder.diffusion.objectives import masked_diffusion_loss
from diffucoder.diffusion.options import CartWeighting, InverseTimeWeighting, Weighting
from diffucoder.diffusion.weights import cart
from diffucoder.model.attention import document_mask

VOCABULARY, MASK = 13, 12
INVERSE_T = InverseTimeWeighting(kind="inverse_t")
CART = CartWeighting(kind="cart")
DOCUMENTS = [0, 0, 0, 1, 1, 1, 1, 2]


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return make_model(VOCABULARY, dtype=torch.float32)


@pytest.fixture
def batch() -> NoisedBatch:
    generator = torch.Generator().manual_seed(0)
    tokens_BL = torch.randint(MASK, (6, len(DOCUMENTS)), generator=generator)
    maskable_BL = torch.rand(tokens_BL.shape, generator=generator) < 0.8
    maskable_BL[:, 0] = False
    return corrupt(tokens_BL, maskable_BL, MASK, generator)


def aligned(logits_BLV: Tensor) -> Tensor:
    return torch.stack([logits_BLV[:, max(i - 1, 0)] for i in range(logits_BLV.shape[1])], dim=1)


def test_corruption_masks_maskable_tokens_only(batch: NoisedBatch) -> None:
    masked_BL = batch.masked
    assert masked_BL.any() and not masked_BL[:, 0].any()
    assert (batch.noised[masked_BL] == MASK).all()
    assert torch.equal(batch.noised[~masked_BL], batch.tokens[~masked_BL])


def test_loss_is_that_of_the_full_logits(model: PreTrainedModel, batch: NoisedBatch) -> None:
    loss, metrics = denoising_loss(model, batch, INVERSE_T, 17.0)
    logits_BLV = aligned(model(batch.noised).logits)
    expected, sums = masked_diffusion_loss(
        logits_BLV, batch.tokens, batch.masked, batch.times, 17.0
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["cross_entropy"], sums["cross_entropy"] / sums["masked"])
    torch.testing.assert_close(metrics["accuracy"], sums["correct"] / sums["masked"])


@pytest.mark.parametrize("weighting", [INVERSE_T, CART], ids=["inverse_t", "cart"])
def test_little_memory_for_logits_changes_nothing(
    model: PreTrainedModel, batch: NoisedBatch, weighting: Weighting
) -> None:
    def step(mib: float) -> list[Tensor]:
        model.zero_grad()
        loss, metrics = denoising_loss(model, batch, weighting, 17.0, logits_mib=mib)
        loss.backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        return [loss.detach(), metrics["cross_entropy"], metrics["accuracy"], *gradients]

    # A thousandth of a MiB holds the logits of 13 positions.
    for got, expected in zip(step(0.001), step(1.0), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_cart_weighs_within_documents(model: PreTrainedModel, batch: NoisedBatch) -> None:
    documents_BL = torch.tensor([DOCUMENTS] * 6)
    attention = document_mask(documents_BL)
    packed = replace(batch, document_ids=documents_BL)
    loss, _ = denoising_loss(model, packed, CART, 17.0, attention)
    logits_BLV = aligned(model(batch.noised, attention_mask=attention).logits)
    scores_BL = logits_BLV.log_softmax(-1).gather(2, batch.tokens[..., None])[..., 0]
    weights_BL = cart(batch.masked, documents_BL, 0.1)
    torch.testing.assert_close(loss, -(weights_BL * scores_BL).sum() / 17.0)


@pytest.mark.parametrize("weighting", [INVERSE_T, CART], ids=["inverse_t", "cart"])
@pytest.mark.parametrize("sizes", [[1] * 6, [4, 2], [1, 5]], ids=str)
def test_accumulated_gradients_equal_one_batch(
    model: PreTrainedModel,
    batch: NoisedBatch,
    weighting: Weighting,
    sizes: list[int],
) -> None:
    def gradients(groups: list[int]) -> list[Tensor]:
        model.zero_grad()
        for part in torch.arange(len(batch.tokens)).split(groups):
            denoising_loss(model, batch.rows(part), weighting, 40.0)[0].backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    for accumulated, whole in zip(gradients(sizes), gradients([6]), strict=True):
        torch.testing.assert_close(accumulated, whole, rtol=1e-4, atol=1e-6)


def test_nothing_masked_trains_nothing(model: PreTrainedModel, batch: NoisedBatch) -> None:
    nothing = replace(batch, masked=torch.zeros_like(batch.masked))
    loss, metrics = denoising_loss(model, nothing, INVERSE_T, 40.0)
    loss.backward()
    assert loss.item() == 0
    assert metrics["cross_entropy"].item() == 0
    assert all((p.grad is None) or not p.grad.any() for p in model.parameters())
