"""Advantage-guided self-distillation of the denoiser (GDSD, arXiv 2605.29398)."""

import math
from typing import ClassVar

from diffucoder.loss import LossOutput
from diffucoder.rl.objectives.base import (
    LossAggMode,
    Objective,
    Scores,
    completion_mean,
    lengths,
    require_reference,
    sequence_sums,
)
from diffucoder.rl.objectives.options import GdsdOptions


class Gdsd(Objective[GdsdOptions]):
    """Match the policy to a teacher made of itself and the advantage.

    The teacher is the optimum of reverse-KL regularised reinforcement learning,

        p* ~ p_old^(1 - beta) * p_ref^beta * exp(psi * A),

    and the policy is regressed on it, up to its normaliser, in log-probabilities of the tokens
    under the estimator's views:

        loss = (1 / completions) * sum over completions of
               [ clip(sum of (new - old)) / length - psi * A
                 - beta * sum of (ref - old) / length ]^2

    with the sum of differences clipped to [log(1 - epsilon), log(1 + epsilon)]. Squares, clip
    and the division by length are those of the paper's code, which however adds the reference
    as a penalty of its own; here it is in the teacher, as in the closed form. The paper's
    variant that first centres the logits over the vocabulary is not implemented.
    """

    Options: ClassVar[type[GdsdOptions]] = GdsdOptions
    loss_agg_mode: ClassVar[LossAggMode] = "seq-mean"

    @property
    def needs_old_logprobs(self) -> bool:
        """The teacher is made of the old policy."""
        return True

    @property
    def needs_reference(self) -> bool:
        """The reference is in the teacher, if it has a share."""
        return self.options.beta > 0

    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        """See `Objective.loss`; metrics: `residual` (nats per token) and `clip_ratio`."""
        epsilon, beta = self.options.epsilon, self.options.beta
        require_reference(beta, scores.ref_BL)
        mask_BL, old_BL = scores.mask_BL, scores.behaviour
        length_B = lengths(mask_BL)
        moved_B = sequence_sums(scores.new_BL - old_BL, mask_BL)
        low, high = math.log1p(-epsilon), math.log1p(epsilon)
        target_B = self.options.psi * scores.weights_B
        if scores.ref_BL is not None:
            away_B = sequence_sums(scores.ref_BL - old_BL, mask_BL)
            target_B = target_B + beta * away_B / length_B
        residual_B = moved_B.clamp(low, high) / length_B - target_B
        real_B = mask_BL.any(1)
        loss = residual_B.square().masked_fill(~real_B, 0.0).sum() / denominator
        means = {"residual": residual_B.abs(), "clip_ratio": (moved_B < low) | (moved_B > high)}
        metrics = {name: completion_mean(values_B, mask_BL) for name, values_B in means.items()}
        return LossOutput(loss, metrics)
