"""From clean rows to the loss that adaptation and instruction tuning take.

Shapes: B rows, L positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.engine import LOGITS_MIB
from diffucoder.diffusion.corruption import mask_tokens, sample_mask
from diffucoder.diffusion.objectives import projected_loss
from diffucoder.diffusion.options import Weighting
from diffucoder.diffusion.schedule import sample_times
from diffucoder.diffusion.weights import cart, inverse_time
from diffucoder.loss import LossOutput, Metrics
from diffucoder.model.kernels import Segments
from diffucoder.model.projection import aligned_states


@dataclass(frozen=True)
class NoisedBatch:
    """Rows in which some tokens are masked, with what the loss needs to know about them.

    Attributes:
        tokens: int64 `[B, L]`, the clean tokens.
        noised: int64 `[B, L]`, the tokens with the mask token at masked positions.
        masked: bool `[B, L]`, positions that are masked.
        maskable: bool `[B, L]`, positions that could have been masked.
        times: float32 `[B]`, the time t of each row.
        document_ids: int64 `[B, L]`, the document of each position, -1 on filler.
    """

    tokens: Tensor
    noised: Tensor
    masked: Tensor
    maskable: Tensor
    times: Tensor
    document_ids: Tensor

    @classmethod
    def concatenate(cls, batches: "Sequence[NoisedBatch]") -> "NoisedBatch":
        """The rows of several batches as one batch."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))

    def to(self, device: torch.device) -> "NoisedBatch":
        """The batch on `device`."""
        tensors = [getattr(self, field.name) for field in fields(self)]
        return NoisedBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))

    def rows(self, chosen: Tensor | slice) -> "NoisedBatch":
        """The chosen rows as a batch of their own."""
        return NoisedBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


def corrupt(
    tokens_BL: Tensor,
    maskable_BL: Tensor,
    mask_token_id: int,
    generator: torch.Generator,
    document_ids_BL: Tensor | None = None,
) -> NoisedBatch:
    """Noise rows: one time t per row, each maskable token masked with probability t.

    Args:
        tokens_BL: clean tokens.
        maskable_BL: bool, tokens that may be masked.
        mask_token_id: id of the mask token.
        generator: where the draws come from.
        document_ids_BL: the document of each position; None if each row is one document.
    """
    times_B = sample_times(len(tokens_BL), generator)
    masked_BL = sample_mask(maskable_BL, times_B, generator)
    return NoisedBatch(
        tokens=tokens_BL,
        noised=mask_tokens(tokens_BL, masked_BL, mask_token_id),
        masked=masked_BL,
        maskable=maskable_BL,
        times=times_B,
        document_ids=torch.zeros_like(tokens_BL) if document_ids_BL is None else document_ids_BL,
    )


def denoising_loss(
    model: PreTrainedModel,
    batch: NoisedBatch,
    weighting: Weighting,
    denominator: float | Tensor,
    attention: Tensor | Segments | None = None,
    position_ids_BL: Tensor | None = None,
    logits_mib: float = LOGITS_MIB,
) -> LossOutput:
    """The masked diffusion loss of rows that `corrupt` noised.

    The denominator is the number of maskable tokens, not of masked ones. A token is masked with
    probability t and then weighs 1/t, so the mean over draws is the negative evidence lower
    bound per token whatever t was. Division by the masked count, as in DiffuLLaMA's code, is a
    ratio of two random numbers: it is biased, and cancels the 1/t of a row on its own.

    Args:
        model: a causal-LM module of transformers.
        batch: noised rows.
        weighting: 1/t or CART.
        denominator: maskable tokens of the whole optimizer step.
        attention: as in `projection.aligned_states`.
        position_ids_BL: as in `projection.aligned_states`.
        logits_mib: as in `objectives.projected_loss`.

    Returns:
        The loss and what `token_means` gives.
    """
    if weighting.kind == "cart":
        weights_BL = cart(batch.masked, batch.document_ids, weighting.cart_p)
    else:
        weights_BL = inverse_time(batch.masked, batch.times)
    states_BLD = aligned_states(model, batch.noised, attention, position_ids_BL)
    loss, sums = projected_loss(
        model, states_BLD, batch.tokens, batch.masked, weights_BL, denominator, logits_mib
    )
    return LossOutput(loss, token_means(sums))


def token_means(sums: Metrics) -> Metrics:
    """`cross_entropy` (nats) and `accuracy` as means over the predicted tokens.

    Args:
        sums: the metrics of `objectives.masked_cross_entropy`.
    """
    predicted = sums["masked"].clamp(min=1)
    return {
        "cross_entropy": sums["cross_entropy"] / predicted,
        "accuracy": sums["correct"] / predicted,
    }
