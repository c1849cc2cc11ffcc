"""Which masked positions to reveal: confidence, budget and choice.

The first four rules are Dream's `diffusion_generate`, with the budget taken row by row;
`threshold` is the parallel decoding of Fast-dLLM (arXiv 2505.22618). A new rule is a function
from (confidence, still masked, budget) to positions, and a line of `RULES`.

Shapes: B rows, L canvas positions, V vocabulary, N masked positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """What a step may reveal.

    Attributes:
        count: int64 `[B]`, positions of each row.
        share: float32 `[B]`, the share of each row's masks that they stand for.
        threshold: confidence from which a position is revealed beyond the count.
    """

    count: Tensor
    share: Tensor
    threshold: float


class Rule(NamedTuple):
    """How sure a position is, and which positions that reveals.

    Attributes:
        confidence: of the positions, from their distributions `[N, V]`, the tokens chosen for
            them `[N]` and a uniform number each `[N]`.
        choose: the revealed positions, bool `[B, L]`, from confidence and mask `[B, L]`.
    """

    confidence: Callable[[Tensor, Tensor, Tensor], Tensor]
    choose: Callable[[Tensor, Tensor, Budget], Tensor]


def probability(probs_NV: Tensor, chosen_N: Tensor, uniform_N: Tensor) -> Tensor:
    """The probability of the token that was chosen."""
    return probs_NV.gather(1, chosen_N[:, None])[:, 0]


def margin(probs_NV: Tensor, chosen_N: Tensor, uniform_N: Tensor) -> Tensor:
    """The most probable token's lead over the second."""
    best_N2 = probs_NV.topk(2, dim=1).values
    return best_N2[:, 0] - best_N2[:, 1]


def negative_entropy(probs_NV: Tensor, chosen_N: Tensor, uniform_N: Tensor) -> Tensor:
    """Sum of p log p, in nats."""
    return torch.special.entr(probs_NV).sum(1).neg()


def lot(probs_NV: Tensor, chosen_N: Tensor, uniform_N: Tensor) -> Tensor:
    """A lot drawn for each position, whatever the model says; low lots come first."""
    return uniform_N.neg()


def most_confident(confidence_BL: Tensor, masked_BL: Tensor, budget: Budget) -> Tensor:
    """The masked positions of highest confidence, as many as the count; ties go leftmost."""
    ranked_BL = confidence_BL.masked_fill(~masked_BL, -torch.inf)
    order_BL = ranked_BL.argsort(dim=1, descending=True, stable=True)
    places_L = torch.arange(masked_BL.shape[1], device=masked_BL.device)
    rank_BL = torch.empty_like(order_BL).scatter_(1, order_BL, places_L.expand_as(order_BL))
    return masked_BL & (rank_BL < budget.count[:, None])


def by_lot(confidence_BL: Tensor, masked_BL: Tensor, budget: Budget) -> Tensor:
    """Each masked position with the probability that the share says."""
    return masked_BL & (confidence_BL > -budget.share[:, None])


def confident_enough(confidence_BL: Tensor, masked_BL: Tensor, budget: Budget) -> Tensor:
    """Every masked position at the threshold or above; the count's, and one, at least."""
    least = replace(budget, count=budget.count.clamp(min=1))
    enough_BL = confidence_BL >= budget.threshold
    return (masked_BL & enough_BL) | most_confident(confidence_BL, masked_BL, least)


RULES: dict[str, Rule] = {
    "origin": Rule(lot, by_lot),
    "maskgit_plus": Rule(probability, most_confident),
    "topk_margin": Rule(margin, most_confident),
    "entropy": Rule(negative_entropy, most_confident),
    "threshold": Rule(probability, confident_enough),
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


def reveal_count(masks: int, fraction: float) -> int:
    """How many positions a row with so many masks reveals: the floor of their product."""
    # The small term keeps a product that is a whole number on paper from flooring to one less.
    return math.floor(masks * fraction + 1e-9)


def perturb(confidence_BL: Tensor, uniform_BL: Tensor, alg_temp: float) -> Tensor:
    """Turn the top positions into a draw from softmax(confidence / alg_temp) without replacement.

    Gumbel noise added to log-weights makes the largest k such a draw.
    """
    gumbel_BL = -torch.log(-torch.log(uniform_BL.clamp(1e-20, 1 - 1e-7)))
    return confidence_BL / alg_temp + gumbel_BL
