"""The fully masked estimator (diffu-GRPO of d1, arXiv 2504.12216, section 3)."""

from collections.abc import Iterator
from typing import ClassVar

from diffucoder.diffusion.generators import Generators, uniform
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import FullMaskOptions
from diffucoder.rl.estimators.views import View


class FullMask(Estimator[FullMaskOptions]):
    """log p of every token with the whole completion masked: one forward pass.

        estimate_k = log p(x_k | prompt with some tokens masked, all of the completion masked)

    d1 masks each prompt token with a small probability, drawn anew for each inner iteration,
    which makes the iterations on one batch differ. Without prompt masking nothing is drawn.
    """

    Options: ClassVar[type[FullMaskOptions]] = FullMaskOptions

    @property
    def forwards(self) -> int:
        """One."""
        return 1

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The one view."""
        if self.options.prompt_masking == 0:
            yield View(batch.context_mask)
            return
        # Prompts are padded on the left: drawn from the right, padding moves no draw.
        rows, length = batch.prompt_mask.shape
        uniform_BQ = uniform(rows, length, generator).flip(1)
        masked_BQ = uniform_BQ.to(batch.prompt_mask.device) < self.options.prompt_masking
        yield View(batch.context_mask, prompt_masked=masked_BQ & batch.prompt_mask)
