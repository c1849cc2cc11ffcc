"""Which masked positions to reveal: confidence, budget and choice.

The rules are Dream's `diffusion_generate`, with the budget taken row by row.

Shapes: B rows, L canvas positions, V vocabulary, N masked positions.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def probability(probs_NV: Tensor, chosen_N: Tensor) -> Tensor:
    """`maskgit_plus`: the probability of the token that was chosen."""
    return probs_NV.gather(1, chosen_N[:, None])[:, 0]


def margin(probs_NV: Tensor, chosen_N: Tensor) -> Tensor:
    """`topk_margin`: the most probable token's lead over the second."""
    best_N2 = probs_NV.topk(2, dim=1).values
    return best_N2[:, 0] - best_N2[:, 1]


def negative_entropy(probs_NV: Tensor, chosen_N: Tensor) -> Tensor:
    """`entropy`: sum of p log p, in nats."""
    return torch.special.entr(probs_NV).sum(1).neg()


CONFIDENCE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "maskgit_plus": probability,
    "topk_margin": margin,
    "entropy": negative_entropy,
}


def reveal_fraction(step: int, steps: int, eps: float) -> float:
    """1 - s/t, the share of the masks to reveal from time t to the next time s.

    Times fall evenly from 1 to `eps`; the last step reveals all that is left.
    """
    if step == steps - 1:
        return 1.0
    t = 1 - step * (1 - eps) / steps
    s = 1 - (step + 1) * (1 - eps) / steps
    return 1 - s / t


def budgets(masked_BL: Tensor, fraction: float) -> Tensor:
    """How many positions each row reveals: floor of its own masks times the fraction, `[B]`."""
    # The small term keeps a product that is a whole number on paper from flooring to one less.
    return (masked_BL.sum(1).double() * fraction + 1e-9).floor().long()


def most_confident(confidence_BL: Tensor, masked_BL: Tensor, budget_B: Tensor) -> Tensor:
    """The `budget_B` masked positions of highest confidence in each row; ties go leftmost."""
    ranked_BL = confidence_BL.masked_fill(~masked_BL, -torch.inf)
    order_BL = ranked_BL.argsort(dim=1, descending=True, stable=True)
    places_L = torch.arange(masked_BL.shape[1], device=masked_BL.device)
    rank_BL = torch.empty_like(order_BL).scatter_(1, order_BL, places_L.expand_as(order_BL))
    return masked_BL & (rank_BL < budget_B[:, None])


def perturb(confidence_BL: Tensor, uniform_BL: Tensor, alg_temp: float) -> Tensor:
    """Turn the top positions into a draw from softmax(confidence / alg_temp) without replacement.

    Gumbel noise added to log-weights makes the largest k such a draw.
    """
    gumbel_BL = -torch.log(-torch.log(uniform_BL.clamp(1e-20, 1 - 1e-7)))
    return confidence_BL / alg_temp + gumbel_BL
