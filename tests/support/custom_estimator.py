"""An estimator of the user's own: every n-th position masked in turn."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.diffusion.generators import Generators
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View


class CombOptions(Params):
    teeth: int = Field(default=2, ge=1)


class Combs(Estimator[CombOptions]):
    Options: ClassVar[type[CombOptions]] = CombOptions

    @property
    def forwards(self) -> int:
        return self.options.teeth

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        tooth_L = torch.arange(batch.completion_ids.shape[1]) % self.options.teeth
        for tooth in range(self.options.teeth):
            yield View(batch.context_mask & (tooth_L == tooth))


class Plain(Combs):
    """One that takes the options of another."""


class NoEstimator:
    pass
