"""The objective of GRPO and coupled-GRPO (arXiv 2402.03300; arXiv 2506.20639, eq. 5)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from diffucoder.model.loss import LossOutput
from diffucoder.rl.objectives.base import Objective
from diffucoder.rl.surrogate import clipped_loss


@dataclass(frozen=True)
class Grpo(Objective):
    """Clipped ratios of single tokens, and a k3 KL to the reference.

    The formula is that of `diffucoder.rl.surrogate.clipped_loss`.

    Attributes:
        epsilon: clip range of the ratio.
        beta: weight of the KL penalty.
    """

    unit: ClassVar[Literal["tokens", "completions"]] = "tokens"
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
        return clipped_loss(
            new_BL,
            old_BL,
            weights_B,
            completion_mask_BL,
            self.epsilon,
            denominator,
            ref_BL,
            self.beta,
        )
