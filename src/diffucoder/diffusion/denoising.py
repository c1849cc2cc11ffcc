"""From clean rows to the loss that adaptation and instruction tuning take.

Shapes: B rows, L positions.
"""

import torch
from torch import Tensor, nn

from diffucoder.config.adaptation import WeightingParams
from diffucoder.diffusion.corruption import hide, sample_mask
from diffucoder.diffusion.objectives import projected_loss
from diffucoder.diffusion.schedule import sample_times
from diffucoder.diffusion.weights import cart, inverse_time
from diffucoder.model.kernels import Segments
from diffucoder.model.projection import aligned_states


def corrupt(
    tokens_BL: Tensor, maskable_BL: Tensor, mask_token_id: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Noise rows: one time t a row, each maskable token hidden with probability t.

    Args:
        tokens_BL: clean tokens.
        maskable_BL: bool, tokens that may be hidden.
        mask_token_id: what stands in for a hidden token.
        generator: source of the draws.

    Returns:
        `tokens` `[B, L]`, `noised` `[B, L]`, `hidden` bool `[B, L]`, `times` `[B]`.
    """
    times_B = sample_times(len(tokens_BL), generator)
    hidden_BL = sample_mask(maskable_BL, times_B, generator)
    return {
        "tokens": tokens_BL,
        "noised": hide(tokens_BL, hidden_BL, mask_token_id),
        "hidden": hidden_BL,
        "times": times_B,
    }


def denoising_loss(
    model: nn.Module,
    tensors: dict[str, Tensor],
    weighting: WeightingParams,
    denominator: float | Tensor,
    attention: Tensor | Segments | None = None,
    position_ids_BL: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The masked diffusion loss of rows that `corrupt` noised.

    The denominator is the number of maskable tokens, not of hidden ones. A token is hidden with
    probability t and then weighs 1/t, so the mean over draws is the negative evidence lower
    bound per token whatever t was. Division by the hidden count, as in DiffuLLaMA's code, is a
    ratio of two random numbers: it is biased, and cancels the 1/t of a row on its own.

    Args:
        model: a causal-LM module of transformers.
        tensors: what `corrupt` returned, and `document_ids` `[B, L]` if rows are packed.
        weighting: 1/t or CART.
        denominator: maskable tokens of the whole optimizer step.
        attention: as in `projection.aligned_states`.
        position_ids_BL: as in `projection.aligned_states`.

    Returns:
        The loss and what `token_means` gives.
    """
    hidden_BL = tensors["hidden"]
    if weighting.kind == "cart":
        one_document_BL = torch.zeros_like(tensors["tokens"])
        documents_BL = tensors.get("document_ids", one_document_BL)
        weights_BL = cart(hidden_BL, documents_BL, weighting.cart_p)
    else:
        weights_BL = inverse_time(hidden_BL, tensors["times"])
    states_BLD = aligned_states(model, tensors["noised"], attention, position_ids_BL)
    loss, sums = projected_loss(
        model, states_BLD, tensors["tokens"], hidden_BL, weights_BL, denominator
    )
    return loss, token_means(sums)


def token_means(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """`cross_entropy` (nats) and `accuracy` as means over the predicted tokens.

    Args:
        sums: the metrics of `objectives.masked_cross_entropy`.
    """
    predicted = sums["hidden"].clamp(min=1)
    return {
        "cross_entropy": sums["cross_entropy"] / predicted,
        "accuracy": sums["correct"] / predicted,
    }
