"""The coupled estimator as Dream-Coder uses it (arXiv 2509.01142)."""

from collections.abc import Iterator
from typing import ClassVar

from diffucoder.diffusion.corruption import coupled_masks
from diffucoder.diffusion.generators import Generators
from diffucoder.diffusion.schedule import sample_times
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import DreamCoderOptions
from diffucoder.rl.estimators.views import View


class DreamCoder(Estimator[DreamCoderOptions]):
    """Two complementary views as passes of their own; every token scored once.

        estimate_k = log p(x_k | the view masking k),   t ~ U(0, 1), one time per row

    Each half is scored at its masked positions only, and there is no fully masked view. The
    statement implemented has no weights: over all of (0, 1) the weights 1/t and 1/(1 - t) of the
    coupled estimator have no finite variance, and each token is scored exactly once. Costs 2
    forward passes.
    """

    Options: ClassVar[type[DreamCoderOptions]] = DreamCoderOptions

    @property
    def forwards(self) -> int:
        """One for each half."""
        return 2

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The two halves."""
        t_B = sample_times(len(batch.completion_ids), generator, 0.0, 1.0)
        halves = coupled_masks(batch.context_mask, t_B.to(batch.completion_ids.device), generator)
        yield from map(View, halves)
