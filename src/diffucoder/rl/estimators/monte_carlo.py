"""The Monte Carlo estimate of the ELBO (MDLM, arXiv 2406.07524; LLaDA, arXiv 2502.09992)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.generators import Generators, split
from diffucoder.diffusion.schedule import SMALLEST_TIME, sample_times
from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View, random_view


@dataclass(frozen=True)
class MonteCarlo(Estimator):
    """K independent draws of the ELBO's terms.

        estimate_k = (1 / K) * sum over draws of 1[k hidden at t] * log p(x_k | view at t) / t

    with t ~ U(low, high) and each position hidden with probability t. Over (0, 1) the sum over k
    is an unbiased estimate of the ELBO. A token that no draw hides is estimated as 0. Costs K
    forward passes.

    Attributes:
        mask_token_id: the mask token.
        draws: K.
        low: smallest time; 1e-3 as in training, since 1/t has no bound.
        high: largest time.

    Raises:
        BadParameters: unless `draws` is at least 1 and 0 < low <= high <= 1.
    """

    name: ClassVar[str] = "monte_carlo"
    mask_token_id: int
    draws: int = 3
    low: float = SMALLEST_TIME
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise BadParameters(
                f"{self.name} estimator: draws must be at least 1, not {self.draws}"
            )
        if not 0 < self.low <= self.high <= 1:
            raise BadParameters(
                f"{self.name} estimator: times must satisfy 0 < low <= high <= 1, got "
                f"low={self.low}, high={self.high}"
            )

    @property
    def forwards(self) -> int:
        """One for each draw."""
        return self.draws

    @property
    def divisor(self) -> float:
        """A mean over the draws."""
        return self.draws

    @property
    def is_elbo(self) -> bool:
        """Every view is a draw of the ELBO's."""
        return True

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """One random view for each draw."""
        for index, source in enumerate(split(generator, self.draws)):
            yield random_view(batch, self.times(len(batch.completion_ids), index, source), source)

    def times(self, rows: int, index: int, source: Generators) -> Tensor:
        """Times of draw number `index`, one a row: float32 `[rows]`."""
        return sample_times(rows, source, self.low, self.high)
