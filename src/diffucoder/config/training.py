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


class LoraParams(Params):
    """Low-rank adapters in place of training all weights (Hu et al., arXiv 2106.09685).

    Attributes:
        rank: of the product that is added to a weight matrix.
        alpha: the product is scaled by alpha / rank.
        targets: names of the linear modules that get adapters, such as `q_proj`.
        whole: names of modules that are trained as a whole besides, such as `embed_tokens` where
            tokens are new.
    """

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    targets: list[str] = Field(min_length=1)
    whole: list[str]


Attention = Literal["auto", "sdpa", "varlen", "flash"]


class EngineParams(Params):
    """How the work is spread over processes and memory; changes results by rounding at most.

    Attributes:
        launcher: `local` starts the ranks on this machine, `hostfile` on the machines of
            DeepSpeed's hostfile, `slurm` on all machines of the allocation, through `srun`.
        hostfile: path of that hostfile (`name slots=N` a line); None with the other launchers.
        nproc_per_node: processes per machine, each with a device of its own.
        threads: OpenMP threads of a rank.
        zero_stage: what ZeRO splits over ranks: 0 nothing, 1 optimizer state, 2 gradients too,
            3 weights too (Rajbhandari et al., arXiv 1910.02054).
        precision: `fp32`, or `bf16` with float32 master weights.
        offload: what the host's memory holds instead of the device's: `none`, `optimizer` (its
            state and step, from ZeRO stage 1), or `optimizer+weights` (ZeRO stage 3).
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        compile: have torch.compile turn the layers into kernels; the first steps take longer.
        micro_batch: rows of one forward pass.
        attention: kernel for packed rows under bidirectional attention: `flash` (flash-attn) and
            `varlen` (torch's) are told where documents begin and need a GPU and bf16; `sdpa` takes
            a mask; `auto` is the first of these three that runs. Other patterns, such as annealed
            attention, always run on `sdpa`.
        logits_mib: memory for logits and what a loss computes from them, in MiB; what does not
            fit is done in chunks.
        nonfinite_limit: updates in a row whose gradient is not finite before the stage gives up;
            such updates are skipped and counted.
        save_every_s: seconds between saves to resume from.
        save_total_limit: saves kept, the newest.
        keep_best: whether the save with the best score is kept as well.
        on_change: what to do about saves made with other parameters or inputs: `refuse` stops
            and names what differs, `restart` deletes them and starts anew.
    """

    launcher: Literal["local", "hostfile", "slurm"]
    hostfile: str | None
    nproc_per_node: int = Field(ge=1)
    threads: int = Field(ge=1)
    zero_stage: Literal[0, 1, 2, 3]
    precision: Literal["fp32", "bf16"]
    offload: Literal["none", "optimizer", "optimizer+weights"]
    gradient_checkpointing: bool
    compile: bool
    micro_batch: int = Field(ge=1)
    attention: Attention
    logits_mib: float = Field(gt=0)
    nonfinite_limit: int = Field(ge=1)
    save_every_s: float = Field(gt=0)
    save_total_limit: int = Field(ge=1)
    keep_best: bool
    on_change: Literal["refuse", "restart"]

    @model_validator(mode="after")
    def _possible(self) -> "EngineParams":
        if (self.launcher == "hostfile") != (self.hostfile is not None):
            raise ValueError(
                f"launcher {self.launcher!r} with hostfile {self.hostfile!r}: give a hostfile with "
                "launcher 'hostfile', and null with the others"
            )
        needed = {"none": 0, "optimizer": 1, "optimizer+weights": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(
                f"offload {self.offload!r} needs zero_stage {needed} or more, got {self.zero_stage}"
            )
        return self


# A save may be resumed with other values of these: they move or time the same computation.
RESUMABLE_WITH_ANY = frozenset(
    {
        "launcher",
        "hostfile",
        "nproc_per_node",
        "threads",
        "offload",
        "gradient_checkpointing",
        "compile",
    }
    | {
        "micro_batch",
        "attention",
        "logits_mib",
        "nonfinite_limit",
        "save_every_s",
        "save_total_limit",
    }
    | {"keep_best", "on_change"}
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
