"""Sequence-level policy optimisation over the ELBO (ESPO, arXiv 2512.03759)."""

from typing import ClassVar

import torch

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
from diffucoder.rl.objectives.options import EspoOptions


class Espo(Objective[EspoOptions]):
    """One clipped ratio per completion, of ELBOs normalised by length.

        r = exp[ (ELBO_new - ELBO_old) / length ]
        loss = -(1 / completions) * sum over completions of
               [ min(r * A, clip(r, 1 - epsilon, 1 + epsilon) * A) - beta * KL ]
        KL = (ELBO_new - ELBO_ref)^2 / (2 * length)

    The KL is Schulman's k2 estimate of the completion, per token. The paper's code divides by
    the length of the canvas; here it is the completion's own, since filler is scored nowhere.
    """

    Options: ClassVar[type[EspoOptions]] = EspoOptions
    loss_agg_mode: ClassVar[LossAggMode] = "seq-mean"

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
        epsilon, beta = self.options.epsilon, self.options.beta
        require_reference(beta, scores.ref_BL)
        mask_BL, weights_B = scores.mask_BL, scores.weights_B
        length_B = lengths(mask_BL)
        moved_B = sequence_sums(scores.new_BL - scores.behaviour, mask_BL)
        ratio_B = (moved_B / length_B).exp()
        clipped_B = ratio_B.clamp(1 - epsilon, 1 + epsilon)
        gain_B = torch.minimum(ratio_B * weights_B, clipped_B * weights_B)
        is_clipped_B = clipped_B * weights_B < ratio_B * weights_B
        kl_B = torch.zeros_like(ratio_B)
        if scores.ref_BL is not None:
            away_B = sequence_sums(scores.new_BL - scores.ref_BL, mask_BL)
            kl_B = away_B.square() / (2 * length_B)
        real_B = mask_BL.any(1)
        loss = -(gain_B - beta * kl_B).masked_fill(~real_B, 0.0).sum() / denominator
        means = {"kl": kl_B, "clip_ratio": is_clipped_B, "ratio": ratio_B}
        metrics = {name: completion_mean(values_B, mask_BL) for name, values_B in means.items()}
        return LossOutput(loss, metrics)
