"""The fully masked estimator (diffu-GRPO of d1, arXiv 2504.12216, section 3)."""

from collections.abc import Iterator
from dataclasses import dataclass

from diffucoder.diffusion.generators import Generators, uniform
from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.views import View


@dataclass(frozen=True)
class FullMask(Estimator):
    """log p of every token with the whole completion hidden: one forward pass.

        estimate_k = log p(x_k | prompt with some tokens hidden, all of the completion hidden)

    d1 hides each prompt token with a small probability, drawn anew for each inner iteration,
    which makes the iterations on one batch differ. Without prompt masking nothing is drawn.

    Attributes:
        mask_token_id: the mask token.
        prompt_masking: probability that a prompt token is hidden; d1 uses 0.15.

    Raises:
        BadParameters: unless 0 <= prompt_masking < 1.
    """

    mask_token_id: int
    prompt_masking: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.prompt_masking < 1:
            raise BadParameters(
                f"full_mask estimator: prompt_masking must satisfy 0 <= prompt_masking < 1, got "
                f"{self.prompt_masking}"
            )

    @property
    def forwards(self) -> int:
        """One."""
        return 1

    def views(self, batch: CompletionBatch, generator: Generators) -> Iterator[View]:
        """The one view."""
        if self.prompt_masking == 0:
            yield View(batch.context_mask)
            return
        # Prompts are padded on the left: drawn from the right, padding moves no draw.
        uniform_BQ = uniform(*batch.prompt_mask.shape, generator).flip(1)
        hidden_BQ = uniform_BQ.to(batch.prompt_mask.device) < self.prompt_masking
        yield View(batch.context_mask, prompt_hidden=hidden_BQ & batch.prompt_mask)
