"""Parameters of instruction tuning."""

from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.config.training import LoraParams, TrainingParams
from diffucoder.diffusion.options import Weighting


class InstructionParams(Params):
    """How the diffusion model learns to answer.

    Attributes:
        weighting: weights of the loss.
        row_length: tokens of a row: prompt, response and padding.
        phase_in_epochs: passes over the pairs during which the share of rows whose prompt is a
            condition grows from 0 to 1; 0 never noises a prompt.
        lora: adapters to train instead of all weights; None trains all.
        training: steps, batch, optimizer and engine.
        work: folder for saves and logs of the run.
    """

    weighting: Weighting
    row_length: int = Field(ge=2)
    phase_in_epochs: float = Field(ge=0)
    lora: LoraParams | None
    training: TrainingParams
    work: str
