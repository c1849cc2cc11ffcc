"""The sandwiched policy gradient (SPG, arXiv 2510.09541)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from diffucoder.diffusion.generators import Generators
from diffucoder.model.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators import Estimator
from diffucoder.rl.objectives.base import Objective, sequence_sums


@dataclass(frozen=True)
class Spg(Objective):
    """Raise a lower bound of what was good, lower an upper bound of what was bad.

        loss = -(1 / tokens) * sum over completions of A * sum over tokens of L
        L = ELBO                                      where A >= 0
        L = mix * EUBO + (1 - mix) * ELBO             where A < 0

    The estimator gives the ELBO's terms; the EUBO comes from the same forward passes
    (`Estimator.bounds`). Dividing by the step's real tokens weighs a completion by its length
    times its mean token score, as the paper's code does.

    Attributes:
        power: the EUBO's beta, at least 1; the paper uses 1.5.
        mix: share of the upper bound; the paper uses 0.5, and 1 is the pure EUBO.
    """

    unit: ClassVar[Literal["tokens", "completions"]] = "tokens"
    compares: ClassVar[bool] = False
    beta: ClassVar[float] = 0.0
    power: float
    mix: float

    def estimate(
        self,
        estimator: Estimator,
        model: nn.Module,
        batch: CompletionBatch,
        generator: Generators,
        weights_B: Tensor,
    ) -> Tensor:
        """The bound that each completion's advantage asks for: float32 `[B, L]`."""
        lower_BL, upper_BL = estimator.bounds(model, batch, generator, self.power)
        mixed_BL = self.mix * upper_BL + (1 - self.mix) * lower_BL
        return torch.where(weights_B[:, None] < 0, mixed_BL, lower_BL)

    def loss(
        self,
        new_BL: Tensor,
        old_BL: Tensor,
        weights_B: Tensor,
        completion_mask_BL: Tensor,
        denominator: float,
        ref_BL: Tensor | None = None,
    ) -> LossOutput:
        """See `Objective.loss`; metrics: `log_likelihood`, the bounds in nats a token."""
        new_B = sequence_sums(new_BL, completion_mask_BL)
        loss = -(weights_B * new_B).sum() / denominator
        tokens = completion_mask_BL.sum().clamp(min=1)
        return LossOutput(loss, {"log_likelihood": new_B.detach().float().sum() / tokens})
