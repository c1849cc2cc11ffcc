"""What all objectives share.

Shapes: P prompts, G completions per prompt, B completions, L completion positions.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.base import Params
from diffucoder.diffusion.generators import Generators
from diffucoder.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator

OptionsT = TypeVar("OptionsT", bound=BaseModel)
# What a loss is a mean over, in verl's words: the step's real tokens, or its completions.
LossAggMode = Literal["token-mean", "seq-mean"]


@dataclass(frozen=True)
class Scores:
    """Estimated log-likelihoods of a micro-batch under all policies that an objective reads.

    Attributes:
        new_BL: under the policy, with gradient, in nats.
        mask_BL: bool, true on real tokens, the end token included.
        weights_B: what each completion counts; see `Objective.weights`.
        old_BL: under the policy that made the completions, with the same masks; None before the
            first update on them, when it is the policy itself.
        ref_BL: under the reference, with the same masks; None if it was not scored.
    """

    new_BL: Tensor
    mask_BL: Tensor
    weights_B: Tensor
    old_BL: Tensor | None = None
    ref_BL: Tensor | None = None

    @property
    def behaviour(self) -> Tensor:
        """Scores under the policy that made the completions, without gradient."""
        return self.new_BL.detach() if self.old_BL is None else self.old_BL


@dataclass(frozen=True)
class Objective(ABC, Generic[OptionsT]):
    """A loss over estimated log-likelihoods and advantages.

    One of your own has a `loss`, the properties below where they differ, and in a nested pydantic
    class `Options` what can be set.

    Attributes:
        Options: the class of `options`, which checks what the parameters say.
        loss_agg_mode: what the denominator of the loss counts over the whole step: real tokens
            (`token-mean`) or completions (`seq-mean`).
        options: an instance of `Options`.
    """

    Options: ClassVar[type[BaseModel]] = Params
    loss_agg_mode: ClassVar[LossAggMode]
    options: OptionsT

    @property
    def needs_old_logprobs(self) -> bool:
        """Whether the policy that made the completions has to be scored."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether the reference has to be scored."""
        return False

    @property
    def needs_elbo(self) -> bool:
        """Whether the scores must be estimates of the ELBO's terms (`Estimator.is_elbo`)."""
        return False

    def weights(self, advantages_PG: Tensor) -> Tensor:
        """What each completion counts.

        Args:
            advantages_PG: advantages of the completions of each group.

        Returns:
            float32 `[P, G]`, 0 where a completion is left out.
        """
        return advantages_PG

    def score(
        self,
        estimator: Estimator,
        model: PreTrainedModel,
        batch: CompletionBatch,
        generator: Generators,
        weights_B: Tensor,
    ) -> Tensor:
        """The scores of one policy that the loss takes.

        Args:
            estimator: the estimator of log-likelihoods.
            model: a bidirectional causal-LM module.
            batch: B completions.
            generator: one generator, or one per row.
            weights_B: what each completion counts.

        Returns:
            float32 `[B, L]`, in nats.
        """
        return estimator.log_likelihood(model, batch, generator)

    @abstractmethod
    def loss(self, scores: Scores, denominator: float) -> LossOutput:
        """The loss to minimise.

        Args:
            scores: log-likelihoods of a micro-batch.
            denominator: real tokens or completions in the whole global batch, as
                `loss_agg_mode` says.

        Returns:
            The loss, and metrics, each a mean over this micro-batch's tokens or completions.

        Raises:
            ValueError: if it needs the reference and `scores` has none.
        """


def require_reference(beta: float, ref_BL: Tensor | None) -> None:
    """Refuse a penalty without a reference.

    Args:
        beta: weight of the reference in the loss.
        ref_BL: scores under the reference, or None.

    Raises:
        ValueError: if `beta` > 0 without scores of the reference.
    """
    if beta > 0 and ref_BL is None:
        raise ValueError("beta > 0 needs the reference's log-likelihoods: pass ref_BL")


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
