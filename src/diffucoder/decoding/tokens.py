"""Choosing a token from a distribution.

Shapes: N positions, V vocabulary.
"""

import torch
from torch import Tensor

# Number of most probable tokens among which a position's nucleus is searched first.
NUCLEUS = 64


def distribution(logits_NV: Tensor, temperature: float, top_p: float, top_k: int) -> Tensor:
    """The distribution to draw from, in float32 `[N, V]`.

    Temperature first, then the nucleus, then the best k of it: the order of Dream's
    `diffusion_generate`.

    Args:
        logits_NV: aligned logits, minus infinity for tokens that may not be drawn.
        temperature: divides the logits; 0 leaves them, since then the best token is taken.
        top_p: probability of the nucleus; 1 keeps all tokens.
        top_k: number of tokens to keep; 0 keeps all.

    Returns:
        Probabilities; those of tokens that were left out are 0.
    """
    logits_NV = logits_NV.float()
    if temperature > 0:
        logits_NV = logits_NV / temperature
    probs_NV = logits_NV.softmax(1)
    if top_p < 1:
        probs_NV = _without(probs_NV, ~_nucleus(probs_NV, top_p))
    if 0 < top_k < probs_NV.shape[1]:
        least_N1 = probs_NV.topk(top_k, dim=1).values[:, -1:]
        probs_NV = _without(probs_NV, probs_NV < least_N1)
    return probs_NV


def _nucleus(probs_NV: Tensor, top_p: float) -> Tensor:
    """The most probable tokens that together reach `top_p`: bool `[N, V]`.

    Mostly a few tokens do, and finding them costs a fraction of a sort; rows that need more are
    sorted whole.
    """
    few = min(NUCLEUS, probs_NV.shape[1])
    kept_NV, more_N = _most_probable(probs_NV, top_p, few)
    if few < probs_NV.shape[1] and more_N.any():
        kept_NV[more_N] = _most_probable(probs_NV[more_N], top_p, probs_NV.shape[1])[0]
    return kept_NV


def _most_probable(probs_NV: Tensor, top_p: float, count: int) -> tuple[Tensor, Tensor]:
    """The nucleus among the `count` most probable tokens, and whether it may need more, `[N]`."""
    best_NK, order_NK = probs_NV.topk(count, dim=1)
    # A token goes when those before it already reach top_p; the first always stays.
    kept_NK = best_NK.cumsum(1) - best_NK < top_p
    kept_NV = torch.zeros(probs_NV.shape, dtype=torch.bool, device=probs_NV.device)
    return kept_NV.scatter_(1, order_NK, kept_NK), kept_NK[:, -1]


def _without(probs_NV: Tensor, gone_NV: Tensor) -> Tensor:
    """The distribution without these tokens, normalised again."""
    kept_NV = probs_NV.masked_fill(gone_NV, 0.0)
    return kept_NV / kept_NV.sum(1, keepdim=True)


def draw(probs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """Inverse-transform sampling.

    Args:
        probs_NV: a distribution for each position.
        uniform_N: a uniform random number for each position.

    Returns:
        The tokens, int64 `[N]`.
    """
    cumulative_NV = probs_NV.cumsum(1)
    # Scaled by the row's own total, so that rounding can never point past the last token.
    points_N1 = (uniform_N * cumulative_NV[:, -1])[:, None]
    chosen_N = torch.searchsorted(cumulative_NV, points_N1, right=True)[:, 0]
    return chosen_N.clamp(max=probs_NV.shape[1] - 1)
