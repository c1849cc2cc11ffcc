"""What all estimators share: scores of views, weighted and summed.

Shapes: B completions, L completion positions, W views.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.base import Params
from diffucoder.config.engine import LOGITS_MIB
from diffucoder.diffusion.generators import Generators
from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.views import View, view_log_probs

OptionsT = TypeVar("OptionsT", bound=BaseModel)


@dataclass(frozen=True)
class Estimator(ABC, Generic[OptionsT]):
    """An estimator of the log-likelihood of each token of a completion.

    An estimator is its views and a divisor:

        estimate_k = (1 / divisor) * sum over views that score k of log p(x_k | view) / P(view)

    where P(view) is the chance that a position had of being masked in that view. One of your own
    says what its `views` and `forwards` are, and in a nested pydantic class `Options` what can be
    set.

    Attributes:
        Options: the class of `options`, which checks what the parameters say.
        options: an instance of it.
        mask_token_id: the mask token.
        steps: steps of the decoding that made the completions; None if unknown.
        logits_mib: memory for logits and what is computed from them, in MiB.
    """

    Options: ClassVar[type[BaseModel]] = Params
    options: OptionsT
    mask_token_id: int
    steps: int | None = None
    logits_mib: float = LOGITS_MIB

    @property
    @abstractmethod
    def forwards(self) -> int:
        """Forward passes that one call of `log_likelihood` costs; the number of views."""

    @property
    def divisor(self) -> float:
        """What the weighted sum over views is divided by."""
        return 1.0

    @property
    def is_elbo(self) -> bool:
        """Whether the estimate is a mean of draws of the ELBO's terms over random times."""
        return False

    @abstractmethod
    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The views of one estimate; the draws come from `generator` alone.

        Equal generator states give equal masks. With a generator per row they depend neither on
        the row's neighbours nor on padding.

        Args:
            batch: B completions.
            generator: one generator, or one per row.

        Returns:
            `forwards` views.
        """

    def log_likelihood(
        self, model: PreTrainedModel, batch: CompletionBatch, generator: Generators
    ) -> Tensor:
        """Estimated log-likelihood of each completion token, in nats.

        Args:
            model: a bidirectional causal-LM module.
            batch: B completions.
            generator: one generator, or one per row.

        Returns:
            float32 `[B, L]`, 0 at padding.
        """
        total_BL = torch.zeros(
            batch.completion_ids.shape, dtype=torch.float32, device=batch.completion_ids.device
        )
        for view in self.views(batch, generator):
            scores_BL = view_log_probs(model, batch, view, self.mask_token_id, self.logits_mib)
            if view.probability is not None:
                scores_BL = scores_BL / view.probability[:, None]
            total_BL = total_BL + scores_BL
        return total_BL / self.divisor

    def bounds(
        self, model: PreTrainedModel, batch: CompletionBatch, generator: Generators, power: float
    ) -> tuple[Tensor, Tensor]:
        """The ELBO's and the EUBO's estimate for each token, from the same forward passes.

            EUBO_k = (1 / power) * log[ (1 / divisor) * sum over views that mask k
                                        of p(x_k | view)^power / P(view) ]

        (SPG, arXiv 2510.09541, without its additive constant, which no gradient sees.)

        Args:
            model: a bidirectional causal-LM module.
            batch: B completions.
            generator: one generator, or one per row.
            power: SPG's beta, at least 1.

        Returns:
            `(lower_BL, upper_BL)`, in nats; both are 0 for a token that no view masked.

        Raises:
            BadParameters: if the estimate is not one of the ELBO, so that nothing bounds it.
        """
        if not self.is_elbo:
            raise BadParameters(
                f"estimator {type(self).__name__} gives no draws of the ELBO, and so no upper "
                "bound: choose monte_carlo or stratified_t, or coupled or decoupled without the "
                "full view"
            )
        lower_BL = torch.zeros(
            batch.completion_ids.shape, dtype=torch.float32, device=batch.completion_ids.device
        )
        terms: list[Tensor] = []
        scored_BL = torch.zeros_like(batch.completion_mask)
        for view in self.views(batch, generator):
            scores_BL = view_log_probs(model, batch, view, self.mask_token_id, self.logits_mib)
            masked_BL = view.masked & batch.completion_mask
            if view.probability is None:
                raise ValueError(f"{type(self).__name__}: a view of an ELBO has a probability")
            chance_B1 = view.probability[:, None]
            lower_BL = lower_BL + scores_BL / chance_B1
            terms.append((power * scores_BL - chance_B1.log()).masked_fill(~masked_BL, -math.inf))
            scored_BL = scored_BL | masked_BL
        # Where nothing was masked all terms are -inf, and the gradient of their sum is NaN.
        terms_WBL = torch.where(scored_BL, torch.stack(terms), 0.0)
        upper_BL = (terms_WBL.logsumexp(0) - math.log(self.divisor)) / power
        return lower_BL / self.divisor, torch.where(scored_BL, upper_BL, 0.0)
