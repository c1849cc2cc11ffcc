"""What all objectives share.

Shapes: P prompts, G completions a prompt, B completions, L completion positions.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

from diffucoder.diffusion.generators import Generators
from diffucoder.model.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators import Estimator


class Objective(ABC):
    """A loss over estimated log-likelihoods and advantages.

    Attributes:
        unit: what the denominator of the loss counts over the whole step: real tokens, or
            completions.
        compares: whether the loss compares the new scores with those of the policy that made
            the completions; where it does not, that policy is not scored.
        beta: weight of the reference in the loss; where 0, the reference is not scored.
    """

    unit: ClassVar[Literal["tokens", "completions"]]
    compares: ClassVar[bool]
    beta: float

    def weights(self, advantages_PG: Tensor) -> Tensor:
        """What each completion counts: float32 `[P, G]`, 0 where it is left out."""
        return advantages_PG

    def estimate(
        self,
        estimator: Estimator,
        model: nn.Module,
        batch: CompletionBatch,
        generator: Generators,
        weights_B: Tensor,
    ) -> Tensor:
        """The scores that the loss takes: float32 `[B, L]`."""
        return estimator.log_likelihood(model, batch, generator)

    @abstractmethod
    def loss(
        self,
        new_BL: Tensor,
        old_BL: Tensor,
        weights_B: Tensor,
        completion_mask_BL: Tensor,
        denominator: float,
        ref_BL: Tensor | None = None,
    ) -> LossOutput:
        """The loss to minimise.

        Args:
            new_BL: scores under the policy, with gradient.
            old_BL: scores under the policy that made the completions, under the same masks.
            weights_B: of `weights`, one for each completion.
            completion_mask_BL: bool, true on real tokens, the end token included.
            denominator: `unit`s in the whole global batch.
            ref_BL: scores under the reference; needed where `beta` > 0.

        Returns:
            The loss, and detached metrics, each a mean over this batch's units.
        """


def sequence_sums(scores_BL: Tensor, completion_mask_BL: Tensor) -> Tensor:
    """Scores summed over each completion's real tokens: `[B]`."""
    return scores_BL.masked_fill(~completion_mask_BL, 0.0).sum(1)


def lengths(completion_mask_BL: Tensor) -> Tensor:
    """Real tokens of each completion, at least 1: `[B]`."""
    return completion_mask_BL.sum(1).clamp(min=1)


def completion_mean(values_B: Tensor, completion_mask_BL: Tensor) -> Tensor:
    """Mean over the completions that have a real token; detached."""
    real_B = completion_mask_BL.any(1)
    kept_B = values_B.detach().float().masked_fill(~real_B, 0.0)
    return kept_B.sum() / real_B.sum().clamp(min=1)
