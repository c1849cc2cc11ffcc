"""Weighted policy optimisation without ratios (wd1, arXiv 2507.08838)."""

from typing import ClassVar

from torch import Tensor

from diffucoder.loss import LossOutput
from diffucoder.rl.objectives.base import (
    LossAggMode,
    Objective,
    Scores,
    completion_mean,
    sequence_sums,
)
from diffucoder.rl.objectives.options import Wd1Options


class Wd1(Objective[Wd1Options]):
    """The log-likelihood of a group's completions, weighted by what they earned.

        loss = -(1 / completions) * sum over completions of G * (w+ - w-) * sum over tokens of new

    with w+ = softmax(psi * A) and w- = softmax(-psi * A) over the group of G: good completions
    are imitated and bad ones unlearned, with no ratio and no other policy's score. The sum over
    a group is that of the paper; written per completion, its denominator is the step's number of
    completions. A group without variance has w+ = w-, and so weighs nothing.

    The paper's policy that samples, a mixture of the old one and the reference, is here the old
    one alone, which is its case beta = 0.
    """

    Options: ClassVar[type[Wd1Options]] = Wd1Options
    loss_agg_mode: ClassVar[LossAggMode] = "seq-mean"

    def weights(self, advantages_PG: Tensor) -> Tensor:
        """G * (w+ - w-): each group sums to 0. See `Objective.weights`."""
        tilt_PG = self.options.psi * advantages_PG
        return advantages_PG.shape[1] * (tilt_PG.softmax(1) - (-tilt_PG).softmax(1))

    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        """See `Objective.loss`; metrics: `log_likelihood`, nats per completion."""
        new_B = sequence_sums(scores.new_BL, scores.mask_BL)
        loss = -(scores.weights_B * new_B).sum() / denominator
        return LossOutput(loss, {"log_likelihood": completion_mean(new_B, scores.mask_BL)})
