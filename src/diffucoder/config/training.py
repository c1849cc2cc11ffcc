"""Parameters shared by every training stage: steps, batch, optimizer, schedule."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.engine import EngineParams


class OptimizerParams(Params):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101).

    Attributes:
        learning_rate: peak step size, reached when the warm-up ends.
        betas: decay of the running mean of gradients and of their squares.
        epsilon: added to the denominator of an update.
        weight_decay: decay of matrices; vectors (norms, biases) are never decayed.
        max_grad_norm: largest global gradient norm; 0 clips nothing.
        fused: update in one kernel, which needs no copies of the largest weights on the way; the
            last bits of its rounding are other ones.
    """

    learning_rate: float = Field(gt=0)
    betas: tuple[float, float]
    epsilon: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(ge=0)
    fused: bool

    @model_validator(mode="after")
    def _betas_decay(self) -> "OptimizerParams":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), got {self.betas}")
        return self


class CosineSchedule(Params):
    """A learning rate that falls from its peak to a floor at the last step, along a cosine.

    Attributes:
        kind: names this schedule.
        warmup_steps: optimizer steps of linear growth from 0 to the peak.
        floor: last learning rate, as a share of the peak.
    """

    kind: Literal["cosine"]
    warmup_steps: int = Field(ge=0)
    floor: float = Field(ge=0, le=1)


class ConstantSchedule(Params):
    """A learning rate that stays at its peak.

    Attributes:
        kind: names this schedule.
        warmup_steps: optimizer steps of linear growth from 0 to the peak.
    """

    kind: Literal["constant"]
    warmup_steps: int = Field(ge=0)


Schedule = Annotated[CosineSchedule | ConstantSchedule, Field(discriminator="kind")]


class LoraParams(Params):
    """Low-rank adapters in place of training all weights (Hu et al., arXiv 2106.09685).

    The names are those of peft's `LoraConfig`.

    Attributes:
        r: rank of the product that is added to a weight matrix.
        lora_alpha: the product is scaled by lora_alpha / r.
        target_modules: names of the linear modules that get adapters, such as `q_proj`.
        modules_to_save: names of modules that are trained as a whole besides, such as
            `embed_tokens` where tokens are new.
    """

    r: int = Field(ge=1)
    lora_alpha: float = Field(gt=0)
    target_modules: list[str] = Field(min_length=1)
    modules_to_save: list[str]


class TrainingParams(Params):
    """One optimisation, start to end.

    Attributes:
        steps: optimizer steps.
        batch_size: rows of an optimizer step, over all ranks and micro-batches.
        optimizer: AdamW's numbers.
        schedule: the learning rate over the steps.
        engine: processes, memory, saves.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: OptimizerParams
    schedule: Schedule
    engine: EngineParams

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingParams":
        if self.batch_size % self.engine.nproc_per_node:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of engine.nproc_per_node "
                f"({self.engine.nproc_per_node}): every rank takes equally many rows"
            )
        if self.schedule.warmup_steps > self.steps:
            raise ValueError(
                f"schedule.warmup_steps ({self.schedule.warmup_steps}) must not exceed steps "
                f"({self.steps})"
            )
        return self
