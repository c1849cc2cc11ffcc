"""The sandwiched policy gradient (SPG, arXiv 2510.09541)."""

from typing import ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.diffusion.generators import Generators
from diffucoder.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.objectives.base import LossAggMode, Objective, Scores, sequence_sums
from diffucoder.rl.objectives.options import SpgOptions


class Spg(Objective[SpgOptions]):
    """Raise a lower bound of what was good, lower an upper bound of what was bad.

        loss = -(1 / tokens) * sum over completions of A * sum over tokens of L
        L = ELBO                                      where A >= 0
        L = mix * EUBO + (1 - mix) * ELBO             where A < 0

    The estimator gives the ELBO's terms; the EUBO comes from the same forward passes
    (`Estimator.bounds`). Dividing by the step's real tokens weighs a completion by its length
    times its mean token score, as the paper's code does.
    """

    Options: ClassVar[type[SpgOptions]] = SpgOptions
    loss_agg_mode: ClassVar[LossAggMode] = "token-mean"

    @property
    def needs_elbo(self) -> bool:
        """The upper bound is one of the ELBO's terms."""
        return self.options.needs_elbo

    def score(
        self,
        estimator: Estimator,
        model: PreTrainedModel,
        batch: CompletionBatch,
        generator: Generators,
        weights_B: Tensor,
    ) -> Tensor:
        """The bound that each completion's advantage asks for; see `Objective.score`.

        Raises:
            BadParameters: if the estimator gives no draws of the ELBO.
        """
        lower_BL, upper_BL = estimator.bounds(model, batch, generator, self.options.power)
        mixed_BL = self.options.mix * upper_BL + (1 - self.options.mix) * lower_BL
        return torch.where(weights_B[:, None] < 0, mixed_BL, lower_BL)

    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        """See `Objective.loss`; metrics: `log_likelihood`, the bounds in nats per token."""
        new_B = sequence_sums(scores.new_BL, scores.mask_BL)
        loss = -(scores.weights_B * new_B).sum() / denominator
        tokens = scores.mask_BL.sum().clamp(min=1)
        return LossOutput(loss, {"log_likelihood": new_B.detach().float().sum() / tokens})
