"""The objective of GRPO and coupled-GRPO (arXiv 2402.03300; arXiv 2506.20639, eq. 5).

Shapes: B completions, L positions of a completion.
"""

from typing import ClassVar

import torch
from torch import Tensor

from diffucoder.loss import LossOutput
from diffucoder.rl.objectives.base import LossAggMode, Objective, Scores, require_reference
from diffucoder.rl.objectives.options import GrpoOptions


def k3_kl(new_BL: Tensor, ref_BL: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(new || ref) for each token: exp(d) - d - 1, d = ref - new."""
    difference_BL = ref_BL - new_BL
    return torch.exp(difference_BL) - difference_BL - 1


def clipped_loss(
    new_BL: Tensor,
    old_BL: Tensor,
    advantages_B: Tensor,
    completion_mask_BL: Tensor,
    epsilon: float,
    denominator: float | Tensor,
    ref_BL: Tensor | None = None,
    beta: float = 0.0,
) -> LossOutput:
    """The GRPO objective over estimated token log-likelihoods.

    loss = -(1 / denominator) * sum over tokens of
           [ min(r * A, clip(r, 1 - epsilon, 1 + epsilon) * A) - beta * k3 ],   r = exp(new - old)

    (arXiv 2506.20639, eq. 5, and DeepSeekMath's KL term.)

    Args:
        new_BL: log-likelihoods under the policy, with gradient.
        old_BL: under the policy that made the completions, scored under the same masks.
        advantages_B: one advantage per completion.
        completion_mask_BL: bool, true on real tokens, the end token included.
        epsilon: clip range of the ratio.
        denominator: real tokens of all completions that are scored in this update, over all
            ranks and micro-batches; coupled-GRPO scores those whose advantage is not 0.
        ref_BL: log-likelihoods under the reference; needed when `beta` > 0.
        beta: weight of the KL penalty.

    Returns:
        The loss, and metrics that are means over real tokens: `kl` (k3, nats), `clip_ratio`
        and `ratio`.

    Raises:
        ValueError: if `beta` > 0 without `ref_BL`.
    """
    require_reference(beta, ref_BL)
    advantages_B1 = advantages_B[:, None]
    ratio_BL = torch.exp(new_BL - old_BL)
    clipped_BL = ratio_BL.clamp(1 - epsilon, 1 + epsilon)
    gain_BL = torch.minimum(ratio_BL * advantages_B1, clipped_BL * advantages_B1)
    tokens = completion_mask_BL.sum().clamp(min=1)

    def mean(values_BL: Tensor) -> Tensor:
        return torch.where(completion_mask_BL, values_BL, 0.0).detach().float().sum() / tokens

    # Clipping has an effect only where the clipped term is the smaller one.
    is_clipped_BL = (clipped_BL * advantages_B1) < (ratio_BL * advantages_B1)
    metrics = {"clip_ratio": mean(is_clipped_BL.float()), "ratio": mean(ratio_BL)}
    if ref_BL is not None:
        kl_BL = k3_kl(new_BL, ref_BL)
        gain_BL = gain_BL - beta * kl_BL
        metrics["kl"] = mean(kl_BL)
    else:
        metrics["kl"] = new_BL.new_zeros(())
    loss = -torch.where(completion_mask_BL, gain_BL, 0.0).sum() / denominator
    return LossOutput(loss, metrics)


class Grpo(Objective[GrpoOptions]):
    """Clipped ratios of single tokens, and a k3 KL to the reference: `clipped_loss`."""

    Options: ClassVar[type[GrpoOptions]] = GrpoOptions
    loss_agg_mode: ClassVar[LossAggMode] = "token-mean"

    @property
    def needs_old_logprobs(self) -> bool:
        """The ratio is one to the old policy."""
        return True

    @property
    def needs_reference(self) -> bool:
        """The KL is one to the reference, if it has a weight."""
        return self.options.beta > 0

    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        """See `Objective.loss`; metrics: `kl`, `clip_ratio` and `ratio`."""
        return clipped_loss(
            scores.new_BL,
            scores.behaviour,
            scores.weights_B,
            scores.mask_BL,
            self.options.epsilon,
            denominator,
            scores.ref_BL,
            self.options.beta,
        )
