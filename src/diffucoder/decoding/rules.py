"""Decoding rules: which masked positions a step reveals.

A rule is one record, `Rule`: how confident the model is at a position, which positions that
reveals, and the traits that parameters are checked against. The first four rules are Dream's
`diffusion_generate`, with the budget taken row by row; `threshold` is the parallel decoding of
Fast-dLLM (arXiv 2505.22618).

A rule of your own is a module-level `Rule` in any importable module, named in parameters by its
import path (`rule: my_package.rules.mine`).

Torch is imported inside functions: parameters look rules up, and the command line, which reads
parameters, has to stay light.

Shapes: B rows, L canvas positions, V vocabulary, N masked positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diffucoder.errors import BadParameters
from diffucoder.imports import load_object

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """What a step may reveal.

    Attributes:
        count: int64 `[B]`, number of positions to reveal in each row.
        ratio: float32 `[B]`, the count's share of each row's masked positions, before rounding.
        threshold: confidence from which the rule `threshold` reveals a position beyond the count.
    """

    count: "Tensor"
    ratio: "Tensor"
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How confident the model is at a position, and which positions that reveals.

    Attributes:
        name: title of the rule, as error messages print it.
        confidence: gives the confidence float32 `[N]` of the masked positions from their token
            distributions float32 `[N, V]`, the tokens chosen for them int64 `[N]`, and one uniform
            random number each, float32 `[N]`.
        choose: gives the positions to reveal, bool `[B, L]`, from confidence float32 `[B, L]`,
            the masked positions bool `[B, L]`, and the budget.
        draws: whether the rule uses its uniform random numbers; those of a rule that does not are
            zeros when nothing else of a step is random.
        fixed_count: whether exactly `Budget.count` positions are revealed. Steps whose count is 0
            are skipped then, and AR-ness, which is defined for one token per step, can be measured.
        takes_alg_temp: whether `choose` ranks positions by confidence, so that noise of the
            temperature `alg_temp` on the confidence turns the choice into a draw.
    """

    name: str
    confidence: "Callable[[Tensor, Tensor, Tensor], Tensor]"
    choose: "Callable[[Tensor, Tensor, Budget], Tensor]"
    draws: bool = False
    fixed_count: bool = False
    takes_alg_temp: bool = False


def probability(probs_NV: "Tensor", chosen_N: "Tensor", uniform_N: "Tensor") -> "Tensor":
    """Probability of the chosen token, `[N]`."""
    return probs_NV.gather(1, chosen_N[:, None])[:, 0]


def margin(probs_NV: "Tensor", chosen_N: "Tensor", uniform_N: "Tensor") -> "Tensor":
    """Difference between the two highest probabilities, `[N]`."""
    best_N2 = probs_NV.topk(2, dim=1).values
    return best_N2[:, 0] - best_N2[:, 1]


def negative_entropy(probs_NV: "Tensor", chosen_N: "Tensor", uniform_N: "Tensor") -> "Tensor":
    """Sum of p log p, in nats, `[N]`."""
    import torch

    return torch.special.entr(probs_NV).sum(1).neg()


def random_score(probs_NV: "Tensor", chosen_N: "Tensor", uniform_N: "Tensor") -> "Tensor":
    """The negative of a uniform random number, whatever the model predicts, `[N]`."""
    return uniform_N.neg()


def most_confident(confidence_BL: "Tensor", masked_BL: "Tensor", budget: Budget) -> "Tensor":
    """The `budget.count` masked positions of highest confidence; ties go to the leftmost."""
    import torch

    ranked_BL = confidence_BL.masked_fill(~masked_BL, -math.inf)
    order_BL = ranked_BL.argsort(dim=1, descending=True, stable=True)
    positions_L = torch.arange(masked_BL.shape[1], device=masked_BL.device)
    rank_BL = torch.empty_like(order_BL).scatter_(1, order_BL, positions_L.expand_as(order_BL))
    return masked_BL & (rank_BL < budget.count[:, None])


def bernoulli(confidence_BL: "Tensor", masked_BL: "Tensor", budget: Budget) -> "Tensor":
    """Each masked position with probability `budget.ratio`; the confidence is a random score."""
    return masked_BL & (confidence_BL > -budget.ratio[:, None])


def confident_enough(confidence_BL: "Tensor", masked_BL: "Tensor", budget: Budget) -> "Tensor":
    """Every masked position at the threshold or above; at least `budget.count` and at least one."""
    least = replace(budget, count=budget.count.clamp(min=1))
    enough_BL = confidence_BL >= budget.threshold
    return (masked_BL & enough_BL) | most_confident(confidence_BL, masked_BL, least)


_RULES = (
    Rule(name="origin", confidence=random_score, choose=bernoulli, draws=True),
    Rule(
        name="maskgit_plus",
        confidence=probability,
        choose=most_confident,
        fixed_count=True,
        takes_alg_temp=True,
    ),
    Rule(
        name="topk_margin",
        confidence=margin,
        choose=most_confident,
        fixed_count=True,
        takes_alg_temp=True,
    ),
    Rule(
        name="entropy",
        confidence=negative_entropy,
        choose=most_confident,
        fixed_count=True,
        takes_alg_temp=True,
    ),
    Rule(name="threshold", confidence=probability, choose=confident_enough),
)
# The rules that parameters, the command line and the server know by name.
RULES: dict[str, Rule] = {rule.name: rule for rule in _RULES}


def find_rule(name: str) -> Rule:
    """Look a rule up.

    Args:
        name: a name in `RULES`, or the import path of a `Rule`, `package.module.rule`.

    Raises:
        BadParameters: if there is no such rule.
    """
    if name in RULES:
        return RULES[name]
    if "." not in name:
        raise BadParameters(
            f"Input should be {', '.join(map(repr, RULES))} or the import path of a rule of your "
            f"own, package.module.rule; got {name!r}"
        )
    found = load_object(name, "rule")
    if not isinstance(found, Rule):
        raise BadParameters(
            f"rule {name!r} is a {type(found).__name__}: give the import path of a "
            "diffucoder.decoding.rules.Rule"
        )
    return found


def reveal_fraction(step: int, steps: int, eps: float) -> float:
    """1 - s/t, the share of the masked positions to reveal from time t to the next time s.

    Args:
        step: the current step, from 0.
        steps: number of steps.
        eps: time at which the last step ends; times fall evenly from 1 to it.

    Returns:
        The share, between 0 and 1; 1 at the last step, which reveals everything that is left.
    """
    if step == steps - 1:
        return 1.0
    t = 1 - step * (1 - eps) / steps
    s = 1 - (step + 1) * (1 - eps) / steps
    return 1 - s / t


def reveal_count(masks: int, fraction: float) -> int:
    """Number of positions to reveal: the floor of masks * fraction.

    Args:
        masks: number of masked positions of the row.
        fraction: share of them to reveal.
    """
    # The small term keeps a product that is a whole number on paper from flooring to one less.
    return math.floor(masks * fraction + 1e-9)


def perturb(confidence_BL: "Tensor", uniform_BL: "Tensor", alg_temp: float) -> "Tensor":
    """Turn the top positions into a draw from softmax(confidence / alg_temp) without replacement.

    Gumbel noise added to log-weights makes the k largest such a draw.

    Args:
        confidence_BL: confidence of each position.
        uniform_BL: a uniform random number for each position.
        alg_temp: temperature of the draw, above 0.

    Returns:
        The perturbed confidence, `[B, L]`.
    """
    gumbel_BL = -(-uniform_BL.clamp(1e-20, 1 - 1e-7).log()).log()
    return confidence_BL / alg_temp + gumbel_BL
