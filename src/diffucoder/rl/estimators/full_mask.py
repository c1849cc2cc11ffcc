"""The fully masked estimator (diffu-GRPO of d1, arXiv 2504.12216, without prompt masking)."""

from dataclasses import dataclass

from torch import Tensor, nn

from diffucoder.diffusion.draws import Draws
from diffucoder.rl.estimators.views import view_log_probs
from diffucoder.rl.rollouts import CompletionBatch


@dataclass(frozen=True)
class FullMask:
    """log p of every token with the whole completion hidden: one forward pass, no draw.

    Attributes:
        mask_token_id: the mask token.
    """

    mask_token_id: int

    def log_likelihood(self, model: nn.Module, batch: CompletionBatch, generator: Draws) -> Tensor:
        """Estimated log-likelihood of each completion token: float32 `[B, L]`."""
        return view_log_probs(model, batch, batch.context_mask, self.mask_token_id)
