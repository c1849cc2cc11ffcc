"""An objective of the user's own: REINFORCE, per token."""

from typing import ClassVar

from diffucoder.config.base import Params
from diffucoder.loss import LossOutput
from diffucoder.rl.objectives.base import LossAggMode, Objective, Scores, sequence_sums


class ReinforceOptions(Params):
    scale: float = 1.0


class Reinforce(Objective[ReinforceOptions]):
    Options: ClassVar[type[ReinforceOptions]] = ReinforceOptions
    loss_agg_mode: ClassVar[LossAggMode] = "token-mean"

    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        sums_B = sequence_sums(scores.new_BL, scores.mask_BL)
        loss = -self.options.scale * (scores.weights_B * sums_B).sum() / denominator
        return LossOutput(loss, {"log_likelihood": sums_B.detach().mean()})


class OfTheElbo(Reinforce):
    """One without options, which needs draws of the ELBO."""

    Options = Params

    @property
    def needs_elbo(self) -> bool:
        return True
