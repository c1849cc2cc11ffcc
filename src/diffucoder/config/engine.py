"""How a stage's work is spread over processes, and in a training over memory and saves."""

from typing import Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params

Attention = Literal["auto", "sdpa", "varlen", "flash"]
# Memory for logits, in MiB, where no parameters say another.
LOGITS_MIB = 128.0


class RankParams(Params):
    """The processes of a stage, for one that decodes or measures and trains nothing.

    Attributes:
        launcher: `local` starts the ranks on this machine, `hostfile` on the machines of
            DeepSpeed's hostfile, `slurm` on all machines of the allocation, through `srun`.
        hostfile: path of that hostfile (`name slots=N` per line); None with the other launchers.
        nproc_per_node: processes per machine, each with a device of its own.
        threads: OpenMP threads per process.
        precision: `fp32`, or `bf16` (in a training with float32 master weights).
        micro_batch: rows of one forward pass.
    """

    launcher: Literal["local", "hostfile", "slurm"]
    hostfile: str | None
    nproc_per_node: int = Field(ge=1)
    threads: int = Field(ge=1)
    precision: Literal["fp32", "bf16"]
    micro_batch: int = Field(ge=1)

    @model_validator(mode="after")
    def _hostfile_is_read(self) -> "RankParams":
        if (self.launcher == "hostfile") != (self.hostfile is not None):
            raise ValueError(
                f"launcher {self.launcher!r} with hostfile {self.hostfile!r}: give a hostfile with "
                "launcher 'hostfile', and null with the others"
            )
        return self


class EngineParams(RankParams):
    """The processes, memory and saves of a training; changes results by rounding at most.

    Attributes:
        launcher, hostfile, nproc_per_node, threads, precision, micro_batch: as in `RankParams`.
        zero_stage: what ZeRO splits over ranks: 0 nothing, 1 optimizer state, 2 gradients too,
            3 weights too (Rajbhandari et al., arXiv 1910.02054).
        offload: what the host's memory holds instead of the device's: `none`, `optimizer` (its
            state and step, from ZeRO stage 1), or `optimizer+weights` (ZeRO stage 3).
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        compile: have torch.compile turn the layers into kernels; the first steps take longer.
        attention: kernel for packed rows under bidirectional attention: `flash` (flash-attn) and
            `varlen` (torch's) are told where documents begin and need a GPU and bf16; `sdpa` takes
            a mask; `auto` is the first of these three that runs. Other patterns, such as annealed
            attention, always run on `sdpa`.
        logits_mib: memory for logits and what a loss computes from them, in MiB; what does not
            fit is done in chunks.
        nonfinite_limit: updates in a row whose gradient is not finite before the stage gives up;
            such updates are skipped and counted.
        save_every_s: seconds between saves to resume from.
        save_total_limit: number of saves kept, the newest.
        keep_best: whether the save with the best score is kept as well.
        on_change: what to do about saves made with other parameters or inputs: `refuse` stops
            and names what differs, `restart` deletes them and starts anew.
    """

    zero_stage: Literal[0, 1, 2, 3]
    offload: Literal["none", "optimizer", "optimizer+weights"]
    gradient_checkpointing: bool
    compile: bool
    attention: Attention
    logits_mib: float = Field(gt=0)
    nonfinite_limit: int = Field(ge=1)
    save_every_s: float = Field(gt=0)
    save_total_limit: int = Field(ge=1)
    keep_best: bool
    on_change: Literal["refuse", "restart"]

    @model_validator(mode="after")
    def _offload_is_possible(self) -> "EngineParams":
        needed = {"none": 0, "optimizer": 1, "optimizer+weights": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(
                f"offload {self.offload!r} needs zero_stage {needed} or more, got {self.zero_stage}"
            )
        return self


# A save may be resumed with other values of all the rest: they move or time the same computation.
CHANGES_RESULTS = frozenset({"precision", "zero_stage"})
RESUMABLE_WITH_ANY = frozenset(EngineParams.model_fields) - CHANGES_RESULTS
