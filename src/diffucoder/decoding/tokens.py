"""Choosing a token from a distribution.

Shapes: N positions, V vocabulary.
"""

import torch
from torch import Tensor


def distribution(logits_NV: Tensor, temperature: float, top_p: float, top_k: int) -> Tensor:
    """The distribution to draw from, in float32 `[N, V]`.

    Temperature first, then the nucleus, then the best k of it: the order of Dream's
    `diffusion_generate`.

    Args:
        logits_NV: aligned logits, minus infinity for what may not be drawn.
        temperature: divides the logits; 0 leaves them, since then the best token is taken.
        top_p: nucleus share, 1 keeps all.
        top_k: number of tokens kept, 0 keeps all.
    """
    logits_NV = logits_NV.float()
    if temperature > 0:
        logits_NV = logits_NV / temperature
    probs_NV = logits_NV.softmax(1)
    if top_p < 1:
        sorted_NV, order_NV = probs_NV.sort(dim=1, descending=True)
        # A token goes when those before it already hold the share; the first always stays.
        gone_NV = sorted_NV.cumsum(1) - sorted_NV >= top_p
        probs_NV = _without(probs_NV, gone_NV.gather(1, order_NV.argsort(1)))
    if 0 < top_k < probs_NV.shape[1]:
        least_N1 = probs_NV.topk(top_k, dim=1).values[:, -1:]
        probs_NV = _without(probs_NV, probs_NV < least_N1)
    return probs_NV


def _without(probs_NV: Tensor, gone_NV: Tensor) -> Tensor:
    kept_NV = probs_NV.masked_fill(gone_NV, 0.0)
    return kept_NV / kept_NV.sum(1, keepdim=True)


def draw(probs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """Inverse-transform sampling: one uniform number a position, int64 `[N]`."""
    cumulative_NV = probs_NV.cumsum(1)
    # Scaled by the row's own total, so that rounding can never point past the last token.
    points_N1 = (uniform_N * cumulative_NV[:, -1])[:, None]
    chosen_N = torch.searchsorted(cumulative_NV, points_N1, right=True)[:, 0]
    return chosen_N.clamp(max=probs_NV.shape[1] - 1)
