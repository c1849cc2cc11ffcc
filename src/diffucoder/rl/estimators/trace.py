"""Scoring tokens at the step that revealed them (TraceRL, arXiv 2509.06949, section 4)."""

from collections.abc import Iterator
from dataclasses import dataclass

from diffucoder.diffusion.generators import Generators
from diffucoder.errors import BadData, BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View


@dataclass(frozen=True)
class Trace(Estimator):
    """log p of every token in the state of the canvas from which the sampler revealed it.

        estimate_k = log p(x_k | prompt, tokens revealed before the group of k's step)

    Groups of consecutive steps share one view, in which all that they reveal is still hidden
    (the paper's shrinkage). With groups of one step, and the sampler's own distribution at
    temperature 1 without truncation, the sum over k is the log-probability of the tokens that
    were sampled, given the places chosen. Nothing is drawn. Costs ceil(steps / group) forward
    passes.

    Attributes:
        mask_token_id: the mask token.
        steps: steps of the decoding that made the completions.
        group: consecutive steps scored together; the paper uses 8.

    Raises:
        BadParameters: unless `steps` and `group` are at least 1.
    """

    mask_token_id: int
    steps: int
    group: int = 8

    def __post_init__(self) -> None:
        if self.steps < 1 or self.group < 1:
            raise BadParameters(
                f"trace estimator: steps and group must be at least 1, got steps={self.steps}, "
                f"group={self.group}"
            )

    @property
    def forwards(self) -> int:
        """One for each group of steps."""
        return -(-self.steps // self.group)

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
        revealed_BL = batch.reveal_step.masked_fill(~batch.context_mask, 0)
        if revealed_BL.numel() and not 0 <= revealed_BL.min() <= revealed_BL.max() < self.steps:
            raise BadData(
                f"trace estimator: reveal steps run from {int(revealed_BL.min())} to "
                f"{int(revealed_BL.max())}, expected 0 to {self.steps - 1}: set steps to that of "
                "the decoding that made the completions"
            )
        for first in range(0, self.steps, self.group):
            hidden_BL = batch.context_mask & (revealed_BL >= first)
            yield View(hidden_BL, scored=revealed_BL < first + self.group)
