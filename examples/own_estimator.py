"""An estimator of your own: coupled masks in more than two parts.

In `conf/local/parameters.yml`; a label under `estimators` can be used by grpo, lab and ablation:

    estimators:
      folds: {name: own_estimator.Folds, folds: 3}
    grpo: {estimator: folds}

    PYTHONPATH=examples .venv/bin/kedro run --pipeline=grpo
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.diffusion.generators import Generators, uniform
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View


class FoldsOptions(Params):
    """What can be set; the parameters are checked against it before a run starts.

    Attributes:
        folds: parts of a completion, each masked in one view.
    """

    folds: int = Field(default=3, ge=2)


class Folds(Estimator[FoldsOptions]):
    """Every token scored once, with the rest of its own random part masked.

        estimate_k = log p(x_k | the view that masks the part of k)

    An estimator is its views: which positions each forward pass masks. What a masked position
    weighs (`View.probability`, none here), what is scored, and the sum are the base class's.
    """

    Options: ClassVar[type[FoldsOptions]] = FoldsOptions

    @property
    def forwards(self) -> int:
        """Forward passes per estimate: the number of views."""
        return self.options.folds

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The parts. All draws come from `generator`: equal states give equal masks."""
        uniform_BL = uniform(*batch.context_mask.shape, generator).to(batch.context_mask.device)
        part_BL = (uniform_BL * self.options.folds).long()
        for part in range(self.options.folds):
            yield View(batch.context_mask & (part_BL == part))
