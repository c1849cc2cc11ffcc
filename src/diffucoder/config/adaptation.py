"""Parameters of adaptation: from an autoregressive to a masked diffusion model."""

from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.config.training import LoraParams, TrainingParams
from diffucoder.diffusion.options import Weighting


class PhaseParams(Params):
    """One phase: what a worker is told.

    Attributes:
        weighting: weights of the loss.
        anneal_steps: steps from causal to bidirectional attention; 0 is bidirectional at once.
        truncated_share: share of rows cut at a random length.
        prefix_share: share of rows that keep a random prefix free of noise.
        lora: adapters to train instead of all weights; None trains all.
        training: steps, batch, optimizer and engine.
    """

    weighting: Weighting
    anneal_steps: int = Field(ge=0)
    truncated_share: float = Field(ge=0, le=1)
    prefix_share: float = Field(ge=0, le=1)
    lora: LoraParams | None
    training: TrainingParams


class AdaptationParams(Params):
    """Both phases of adaptation.

    Attributes:
        weighting, anneal_steps, truncated_share, prefix_share, lora: as in `PhaseParams`; the
            second phase is bidirectional from its start.
        pretraining: the first phase, on the token shards.
        mid_training: the second phase, on the curated shards; None leaves it out.
        work: folder for saves and logs of the run.
    """

    weighting: Weighting
    anneal_steps: int = Field(ge=0)
    truncated_share: float = Field(ge=0, le=1)
    prefix_share: float = Field(ge=0, le=1)
    lora: LoraParams | None
    pretraining: TrainingParams
    mid_training: TrainingParams | None
    work: str

    def phase(self, training: TrainingParams, anneal_steps: int) -> PhaseParams:
        """What one phase's worker is told."""
        return PhaseParams(
            weighting=self.weighting,
            anneal_steps=anneal_steps,
            truncated_share=self.truncated_share,
            prefix_share=self.prefix_share,
            lora=self.lora,
            training=training,
        )
