"""Sequence-level policy optimisation over the ELBO (ESPO, arXiv 2512.03759)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from diffucoder.errors import BadParameters
from diffucoder.model.loss import LossOutput
from diffucoder.rl.objectives.base import Objective, completion_mean, lengths, sequence_sums


@dataclass(frozen=True)
class Espo(Objective):
    """One clipped ratio a completion, of ELBOs normalised by length.

        r = exp[ (ELBO_new - ELBO_old) / length ]
        loss = -(1 / completions) * sum over completions of
               [ min(r * A, clip(r, 1 - epsilon, 1 + epsilon) * A) - beta * KL ]
        KL = (ELBO_new - ELBO_ref)^2 / (2 * length)

    The KL is Schulman's k2 estimate of the completion, per token. The paper's code divides by
    the length of the canvas; here it is the completion's own, filler being scored nowhere.

    Attributes:
        epsilon: clip range of the ratio.
        beta: weight of the KL penalty.
    """

    unit: ClassVar[Literal["tokens", "completions"]] = "completions"
    compares: ClassVar[bool] = True
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
        """See `Objective.loss`; metrics: `kl`, `clip_ratio` and `ratio`."""
        if self.beta > 0 and ref_BL is None:
            raise BadParameters("espo: beta > 0 needs the reference's scores: pass ref_BL")
        length_B = lengths(completion_mask_BL)
        ratio_B = (sequence_sums(new_BL - old_BL, completion_mask_BL) / length_B).exp()
        clipped_B = ratio_B.clamp(1 - self.epsilon, 1 + self.epsilon)
        gain_B = torch.minimum(ratio_B * weights_B, clipped_B * weights_B)
        bites_B = clipped_B * weights_B < ratio_B * weights_B
        kl_B = torch.zeros_like(ratio_B)
        if ref_BL is not None:
            kl_B = sequence_sums(new_BL - ref_BL, completion_mask_BL).square() / (2 * length_B)
        real_B = completion_mask_BL.any(1)
        loss = -(gain_B - self.beta * kl_B).masked_fill(~real_B, 0.0).sum() / denominator
        means = {"kl": kl_B, "clip_ratio": bites_B, "ratio": ratio_B}
        return LossOutput(
            loss,
            {
                name: completion_mean(values_B, completion_mask_BL)
                for name, values_B in means.items()
            },
        )
