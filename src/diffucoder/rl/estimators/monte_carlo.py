"""Monte Carlo estimates of the ELBO (MDLM, arXiv 2406.07524; LLaDA, arXiv 2502.09992)."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.generators import Generators, split
from diffucoder.diffusion.schedule import sample_times
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import (
    MonteCarloOptions,
    RandomViewsOptions,
    StratifiedTOptions,
)
from diffucoder.rl.estimators.views import View, random_view


class MonteCarlo(Estimator[RandomViewsOptions]):
    """K independent draws of the ELBO's terms.

        estimate_k = (1 / K) * sum over draws of 1[k masked at t] * log p(x_k | view at t) / t

    with t ~ U(low, high) and each position masked with probability t. Over (0, 1) the sum over k
    is an unbiased estimate of the ELBO. A token that no draw masks is estimated as 0. Costs K
    forward passes.
    """

    Options: ClassVar[type[RandomViewsOptions]] = MonteCarloOptions

    @property
    def forwards(self) -> int:
        """One for each draw."""
        return self.options.draws

    @property
    def divisor(self) -> float:
        """A mean over the draws."""
        return self.options.draws

    @property
    def is_elbo(self) -> bool:
        """Every view is a draw of the ELBO's terms."""
        return self.options.is_elbo

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """One random view for each draw."""
        for index, own in enumerate(split(generator, self.options.draws)):
            yield random_view(batch, self.times(len(batch.completion_ids), index, own), own)

    def times(self, rows: int, index: int, generator: Generators) -> Tensor:
        """Times of one draw.

        Args:
            rows: B.
            index: number of the draw, from 0.
            generator: one generator, or one per row.

        Returns:
            float32 `[B]`.
        """
        return sample_times(rows, generator, self.options.low, self.options.high)


class StratifiedT(MonteCarlo):
    """K draws of the ELBO's terms, one from each of K equal parts of the range of times.

    As `monte_carlo`, but t of draw i is uniform on

        [low + i / K * (high - low), low + (i + 1) / K * (high - low)),   i = 0 ... K - 1.

    Stratification leaves the mean as it is and takes the variance between the parts away. (The
    low-discrepancy times of variational diffusion models, arXiv 2107.00630, and of MDLM, arXiv
    2406.07524, spread them over the rows of a batch; here a row's own draws are spread, so that
    rows stay independent.) Costs K forward passes.
    """

    Options: ClassVar[type[RandomViewsOptions]] = StratifiedTOptions

    def times(self, rows: int, index: int, generator: Generators) -> Tensor:
        """Times from part number `index` of the range; see `MonteCarlo.times`."""
        width = (self.options.high - self.options.low) / self.options.draws
        low = self.options.low + index * width
        return sample_times(rows, generator, low, low + width)
