"""The coupled estimator of DiffuCoder (arXiv 2506.20639, section 4), and its ablation.

Shapes: B completions, L completion positions.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.corruption import coupled_masks, sample_mask
from diffucoder.diffusion.generators import Generators, split
from diffucoder.diffusion.schedule import sample_times
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import CoupledOptions, DecoupledOptions, PairedOptions
from diffucoder.rl.estimators.views import View


class Paired(Estimator[PairedOptions]):
    """Pairs of views at times t and 1 - t, and optionally one with everything masked."""

    @property
    def forwards(self) -> int:
        """Two for each pair, and one for the full view."""
        return 2 * self.options.pairs + self.options.full_view

    @property
    def divisor(self) -> float:
        """Published weights count a pair once; without the full view both halves count."""
        pairs = self.options.pairs
        return pairs + 1 if self.options.full_view else 2 * pairs

    @property
    def is_elbo(self) -> bool:
        """The full view is no draw of the ELBO's terms."""
        return self.options.is_elbo

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The full view, then the two halves of each pair."""
        if self.options.full_view:
            yield View(batch.context_mask)
        # A generator for each pair: how long the rows are must not move the next pair's draws.
        for own in split(generator, self.options.pairs):
            t_B = sample_times(len(batch.completion_ids), own, self.options.low, self.options.high)
            t_B = t_B.to(batch.completion_ids.device)
            first_BL, second_BL = self.halves(batch.context_mask, t_B, own)
            yield View(first_BL, t_B)
            yield View(second_BL, 1 - t_B)

    @abstractmethod
    def halves(
        self, maskable_BL: Tensor, t_B: Tensor, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """What the two views of a pair mask.

        Args:
            maskable_BL: bool, positions that may be masked.
            t_B: probability that the first view masks a position; the second's is 1 - t.
            generator: one generator, or one per row.

        Returns:
            Two bool `[B, L]`.
        """


class Coupled(Paired):
    """Pairs of complementary views, and one view with everything masked.

    For lambda pairs at times t ~ U(low, high), one time per row and pair:

        estimate_k = 1 / (lambda + 1) * [ sum over pairs w_k * log p(x_k | the view masking k)
                                          + log p(x_k | all masked) ]

    with w_k = 1 / t if k is masked in the first view of the pair and 1 / (1 - t) if in the
    second. Every token is scored once per pair, and the two halves of a pair are antithetic:
    their covariance is negative. Costs 2 * lambda + 1 forward passes.

    Each half is by itself an estimate of the token's ELBO term, so that a pair is worth two of
    them and the published weights give (2 * lambda + 1) / (lambda + 1) times a mean of log
    probabilities. Without the full view the divisor is 2 * lambda, and the estimate is that of
    the ELBO with coupled draws (as in ESPO, arXiv 2512.03759), over times in [low, high].
    """

    Options: ClassVar[type[PairedOptions]] = CoupledOptions

    def halves(
        self, maskable_BL: Tensor, t_B: Tensor, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """Each position in exactly one of the two."""
        return coupled_masks(maskable_BL, t_B, generator)


class Decoupled(Paired):
    """The views, times and weights of the coupled estimator under independent masks.

    The second view of a pair masks each position with probability 1 - t whether or not the first
    masks it: a token is scored in both, in one, or in none. Each view taken alone has the same
    distribution as there, and the cost is the same 2 * lambda + 1 forward passes, so that the
    coupling is all that differs (arXiv 2506.20639, section 5, "decoupled").
    """

    Options: ClassVar[type[PairedOptions]] = DecoupledOptions

    def halves(
        self, maskable_BL: Tensor, t_B: Tensor, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """Two independent draws, each from a generator of its own."""
        first, second = split(generator, 2)
        return (
            sample_mask(maskable_BL, t_B, first),
            sample_mask(maskable_BL, 1 - t_B, second),
        )
