"""Weighted policy optimisation without ratios (wd1, arXiv 2507.08838)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from diffucoder.model.loss import LossOutput
from diffucoder.rl.objectives.base import Objective, completion_mean, sequence_sums


@dataclass(frozen=True)
class Wd1(Objective):
    """The log-likelihood of a group's completions, weighted by what they earned.

        loss = -(1 / completions) * sum over completions of G * (w+ - w-) * sum over tokens of new

    with w+ = softmax(psi * A) and w- = softmax(-psi * A) over the group of G: good completions
    are imitated and bad ones unlearned, with no ratio and no other policy's score. The sum over
    a group is that of the paper; written per completion, its denominator is the step's number of
    completions. A group without variance has w+ = w-, and so weighs nothing.

    The paper's policy that samples, a mixture of the old one and the reference, is here the old
    one alone, which is its case beta = 0.

    Attributes:
        psi: inverse temperature of the weights.
    """

    unit: ClassVar[Literal["tokens", "completions"]] = "completions"
    compares: ClassVar[bool] = False
    beta: ClassVar[float] = 0.0
    psi: float

    def weights(self, advantages_PG: Tensor) -> Tensor:
        """G * (w+ - w-): each group sums to 0."""
        tilt_PG = self.psi * advantages_PG
        return advantages_PG.shape[1] * (tilt_PG.softmax(1) - (-tilt_PG).softmax(1))

    def loss(
        self,
        new_BL: Tensor,
        old_BL: Tensor,
        weights_B: Tensor,
        completion_mask_BL: Tensor,
        denominator: float,
        ref_BL: Tensor | None = None,
    ) -> LossOutput:
        """See `Objective.loss`; metrics: `log_likelihood`, nats a completion."""
        new_B = sequence_sums(new_BL, completion_mask_BL)
        loss = -(weights_B * new_B).sum() / denominator
        return LossOutput(loss, {"log_likelihood": completion_mean(new_B, completion_mask_BL)})
