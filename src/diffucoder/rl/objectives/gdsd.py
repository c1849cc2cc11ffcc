"""Advantage-guided self-distillation of the denoiser (GDSD, arXiv 2605.29398)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from diffucoder.errors import BadParameters
from diffucoder.model.loss import LossOutput
from diffucoder.rl.objectives.base import Objective, completion_mean, lengths, sequence_sums


@dataclass(frozen=True)
class Gdsd(Objective):
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

    Attributes:
        psi: how far the advantage moves the teacher, nats a token and unit of advantage.
        epsilon: clip range of the ratio of whole completions.
        beta: share of the reference in the teacher, 0 to 1.
    """

    unit: ClassVar[Literal["tokens", "completions"]] = "completions"
    compares: ClassVar[bool] = True
    psi: float
    epsilon: float
    beta: float

    def loss(
        self,
        new_BL: Tensor,
        old_BL: Tensor,
        weights_B: Tensor,
        completion_mask_BL: Tensor,
        denominator: float,
        ref_BL: Tensor | None = None,
    ) -> LossOutput:
        """See `Objective.loss`; metrics: `residual` (nats a token) and `clip_ratio`."""
        if self.beta > 0 and ref_BL is None:
            raise BadParameters("gdsd: beta > 0 needs the reference's scores: pass ref_BL")
        length_B = lengths(completion_mask_BL)
        moved_B = sequence_sums(new_BL - old_BL, completion_mask_BL)
        low, high = math.log1p(-self.epsilon), math.log1p(self.epsilon)
        target_B = self.psi * weights_B
        if ref_BL is not None:
            away_B = sequence_sums(ref_BL - old_BL, completion_mask_BL)
            target_B = target_B + self.beta * away_B / length_B
        residual_B = moved_B.clamp(low, high) / length_B - target_B
        real_B = completion_mask_BL.any(1)
        loss = residual_B.square().masked_fill(~real_B, 0.0).sum() / denominator
        means = {"residual": residual_B.abs(), "clip_ratio": (moved_B < low) | (moved_B > high)}
        return LossOutput(
            loss,
            {
                name: completion_mean(values_B, completion_mask_BL)
                for name, values_B in means.items()
            },
        )
