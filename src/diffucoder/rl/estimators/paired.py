"""What the coupled and the decoupled estimator share: pairs of half views.

Shapes: B completions, L completion positions.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.generators import Generators, split
from diffucoder.diffusion.schedule import sample_times
from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View


@dataclass(frozen=True)
class Paired(Estimator):
    """Pairs of views at times t and 1 - t, and if asked one with everything hidden.

    Attributes:
        mask_token_id: the mask token.
        pairs: lambda, the number of pairs.
        low: smallest time.
        high: largest time.
        full_view: whether the view with everything hidden is one of them.

    Raises:
        BadParameters: unless `pairs` is at least 1 and 0 < low <= high < 1.
    """

    name: ClassVar[str]
    mask_token_id: int
    pairs: int = 1
    low: float = 0.2
    high: float = 0.8
    full_view: bool = True

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise BadParameters(
                f"{self.name} estimator: pairs must be at least 1, not {self.pairs}"
            )
        if not 0 < self.low <= self.high < 1:
            raise BadParameters(
                f"{self.name} estimator: times must satisfy 0 < low <= high < 1, got "
                f"low={self.low}, high={self.high}: the weights 1/t and 1/(1 - t) need both views "
                "to hide something"
            )

    @property
    def forwards(self) -> int:
        """Two for each pair, and the full view."""
        return 2 * self.pairs + self.full_view

    @property
    def divisor(self) -> float:
        """Published weights count a pair once; without the full view both halves count."""
        return self.pairs + 1 if self.full_view else 2 * self.pairs

    @property
    def is_elbo(self) -> bool:
        """The full view is no draw of the ELBO's."""
        return not self.full_view

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The full view, then the two halves of each pair."""
        if self.full_view:
            yield View(batch.context_mask)
        # A source for each pair: how long the rows are must not move the next pair's draws.
        for source in split(generator, self.pairs):
            t_B = sample_times(len(batch.completion_ids), source, self.low, self.high)
            t_B = t_B.to(batch.completion_ids.device)
            first_BL, second_BL = self.halves(batch.context_mask, t_B, source)
            yield View(first_BL, t_B)
            yield View(second_BL, 1 - t_B)

    @abstractmethod
    def halves(self, maskable_BL: Tensor, t_B: Tensor, source: Generators) -> tuple[Tensor, Tensor]:
        """What the two views of a pair hide: the first with probability t, the second 1 - t."""
