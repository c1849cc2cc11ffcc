"""Scoring tokens at the step that revealed them (TraceRL, arXiv 2509.06949, section 4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from diffucoder.diffusion.generators import Generators
from diffucoder.errors import BadData, BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import TraceOptions
from diffucoder.rl.estimators.views import View


@dataclass(frozen=True)
class Trace(Estimator[TraceOptions]):
    """log p of every token in the state of the canvas from which the sampler revealed it.

        estimate_k = log p(x_k | prompt, tokens revealed before the group of k's step)

    Groups of consecutive steps share one view, in which all that they reveal is still masked
    (the paper's shrinkage). With groups of one step, and the sampler's own distribution at
    temperature 1 without truncation, the sum over k is the log-probability of the tokens that
    were sampled, given the positions chosen. Nothing is drawn. Costs ceil(steps / group) forward
    passes.
    """

    Options: ClassVar[type[TraceOptions]] = TraceOptions

    def __post_init__(self) -> None:
        """Refuse to be made without the number of decoding steps.

        Raises:
            BadParameters: unless `steps` is given and at least 1.
        """
        if self.steps is None or self.steps < 1:
            raise BadParameters(
                "the trace estimator needs `steps`, the number of steps of the decoding that made "
                f"the completions: expected at least 1, got {self.steps}"
            )

    @property
    def decoding_steps(self) -> int:
        """`steps`, which is known here."""
        assert self.steps is not None
        return self.steps

    @property
    def forwards(self) -> int:
        """One for each group of steps."""
        return -(-self.decoding_steps // self.options.group)

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """One view for each group of steps, in their order.

        Raises:
            BadData: for a batch without reveal steps, or with one beyond `steps`.
        """
        if batch.reveal_step is None:
            raise BadData(
                "trace estimator: the batch has no reveal_step; score rollouts of the sampler, "
                "which records them"
            )
        steps, group = self.decoding_steps, self.options.group
        revealed_BL = batch.reveal_step.masked_fill(~batch.context_mask, 0)
        if revealed_BL.numel() and not 0 <= revealed_BL.min() <= revealed_BL.max() < steps:
            raise BadData(
                f"trace estimator: reveal steps run from {int(revealed_BL.min())} to "
                f"{int(revealed_BL.max())}, expected 0 to {steps - 1}: set steps to that of "
                "the decoding that made the completions"
            )
        for first in range(0, steps, group):
            masked_BL = batch.context_mask & (revealed_BL >= first)
            yield View(masked_BL, scored=revealed_BL < first + group)
