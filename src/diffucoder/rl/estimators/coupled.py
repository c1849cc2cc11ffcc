"""The coupled estimator of DiffuCoder (arXiv 2506.20639, section 4)."""

from dataclasses import dataclass

from torch import Tensor, nn

from diffucoder.diffusion.corruption import coupled_masks
from diffucoder.diffusion.draws import Draws, split
from diffucoder.diffusion.schedule import sample_times
from diffucoder.errors import BadParameters
from diffucoder.rl.estimators.views import view_log_probs
from diffucoder.rl.rollouts import CompletionBatch


@dataclass(frozen=True)
class Coupled:
    """Pairs of complementary views, and one view with everything hidden.

    For lambda pairs at times t ~ U(low, high), one time a row and pair:

        estimate_k = 1 / (lambda + 1) * [ sum over pairs w_k * log p(x_k | the view hiding k)
                                          + log p(x_k | all hidden) ]

    with w_k = 1 / t if k is hidden in the first view of the pair and 1 / (1 - t) if in the
    second. Every token is scored once a pair, and the two halves of a pair are antithetic:
    their covariance is negative. Costs 2 * lambda + 1 forward passes.

    Attributes:
        mask_token_id: the mask token.
        pairs: lambda; the paper uses 1.
        low: smallest time; the paper uses 0.2, since 1/t explodes below.
        high: largest time; the paper uses 0.8, since 1/(1 - t) explodes above.

    Raises:
        BadParameters: unless `pairs` is at least 1 and 0 < low <= high < 1.
    """

    mask_token_id: int
    pairs: int = 1
    low: float = 0.2
    high: float = 0.8

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise BadParameters(f"coupled estimator: pairs must be at least 1, got {self.pairs}")
        if not 0 < self.low <= self.high < 1:
            raise BadParameters(
                f"coupled estimator: times must satisfy 0 < low <= high < 1, got low={self.low}, "
                f"high={self.high}: the weights 1/t and 1/(1 - t) need both views to hide something"
            )

    def log_likelihood(self, model: nn.Module, batch: CompletionBatch, generator: Draws) -> Tensor:
        """Estimated log-likelihood of each completion token: float32 `[B, L]`.

        The draws come from `generator` alone, so equal generator states give equal masks. With
        a generator a row they depend neither on the row's neighbours nor on padding.
        """
        total_BL = view_log_probs(model, batch, batch.context_mask, self.mask_token_id)
        # A source for each pair: how long the rows are must not move the next pair's draws.
        for source in split(generator, self.pairs):
            t_B = sample_times(len(batch.completion_ids), source, self.low, self.high)
            t_B = t_B.to(batch.completion_ids.device)
            first_BL, second_BL = coupled_masks(batch.context_mask, t_B, source)
            for hidden_BL, time_B in ((first_BL, t_B), (second_BL, 1 - t_B)):
                scores_BL = view_log_probs(model, batch, hidden_BL, self.mask_token_id)
                total_BL = total_BL + scores_BL / time_B[:, None]
        return total_BL / (self.pairs + 1)
