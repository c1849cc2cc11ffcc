"""Parameters shared by every training stage: steps, batch, optimizer, schedule, engine."""

from typing import Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params


class OptimizerParams(Params):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101).

    Attributes:
        learning_rate: peak step size, reached when the warm-up ends.
        betas: decay of the running mean of gradients and of their squares.
        epsilon: added to the denominator of an update.
        weight_decay: decay of matrices; vectors (norms, biases) are never decayed.
        gradient_clip: largest global gradient norm; 0 clips nothing.
    """

    learning_rate: float = Field(gt=0)
    betas: tuple[float, float]
    epsilon: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(ge=0)

    @model_validator(mode="after")
    def _betas_decay(self) -> "OptimizerParams":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), got {self.betas}")
        return self


class ScheduleParams(Params):
    """Learning rate over the optimizer steps of a stage.

    Attributes:
        kind: `cosine` falls from the peak to the floor at the last step; `constant` stays.
        warmup_steps: optimizer steps of linear growth from 0 to the peak.
        floor: last learning rate of `cosine`, as a share of the peak.
    """

    kind: Literal["cosine", "constant"]
    warmup_steps: int = Field(ge=0)
    floor: float = Field(ge=0, le=1)


Attention = Literal["auto", "sdpa", "varlen", "flash"]


class EngineParams(Params):
    """How the work is spread over processes and memory; changes results by rounding at most.

    Attributes:
        ranks: processes, each with a device of its own; with a hostfile, processes a machine.
        threads: OpenMP threads of a rank.
        zero_stage: what ZeRO splits over ranks: 0 nothing, 1 optimizer state, 2 gradients too,
            3 weights too (Rajbhandari et al., arXiv 1910.02054).
        precision: `fp32`, or `bf16` with float32 master weights.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        micro_batch: rows of one forward pass.
        attention: kernel for packed rows under bidirectional attention: `flash` (flash-attn) and
            `varlen` (torch's) are told where documents begin and need a GPU and bf16; `sdpa` takes
            a mask; `auto` is the first of these three that runs. Other patterns, such as annealed
            attention, always run on `sdpa`.
        logits_mib: memory for logits and what a loss computes from them, in MiB; what does not
            fit is done in chunks.
        save_every_s: seconds between saves to resume from.
        keep_last: saves kept.
        hostfile: DeepSpeed hostfile (`name slots=N` a line) of more machines; None: this one.
        on_change: what to do about saves made with other parameters or inputs: `refuse` stops
            and names what differs, `restart` deletes them and starts anew.
    """

    ranks: int = Field(ge=1)
    threads: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]
    precision: Literal["fp32", "bf16"]
    gradient_checkpointing: bool
    micro_batch: int = Field(ge=1)
    attention: Attention
    logits_mib: float = Field(gt=0)
    save_every_s: float = Field(gt=0)
    keep_last: int = Field(ge=1)
    hostfile: str | None
    on_change: Literal["refuse", "restart"]


# A save may be resumed with other values of these: they move or time the same computation.
RESUMABLE_WITH_ANY = frozenset(
    {"threads", "gradient_checkpointing", "micro_batch", "attention", "logits_mib", "hostfile"}
    | {"save_every_s", "keep_last", "on_change"}
)


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
    schedule: ScheduleParams
    engine: EngineParams

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingParams":
        if self.batch_size % self.engine.ranks:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of engine.ranks "
                f"({self.engine.ranks}): every rank takes equally many rows"
            )
        if self.schedule.warmup_steps > self.steps:
            raise ValueError(
                f"schedule.warmup_steps ({self.schedule.warmup_steps}) must not exceed steps "
                f"({self.steps})"
            )
        return self
