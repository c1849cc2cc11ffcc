"""The only module that knows DeepSpeed: set-up, one gradient step, full weights, export."""

import logging
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

# Chosen before the import below, which looks for a device and warns where it finds none.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")

import deepspeed

from diffucoder.config.training import OptimizerParams, TrainingParams
from diffucoder.engine import lora
from diffucoder.engine.clock import Stopwatch
from diffucoder.engine.flops import Counter
from diffucoder.engine.launch import die_with_parent
from diffucoder.errors import BadCheckpoint, TrainingFailed
from diffucoder.io.atomic import atomic_directory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# On CPU DeepSpeed would compile it for a minute, and only its inference all-reduce uses it.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
# Old names that DeepSpeed calls at every ZeRO step, and one that older transformers need.
for renamed in ("all_gather_into_tensor", "reduce_scatter_tensor", "gradient_checkpointing_enable"):
    warnings.filterwarnings("ignore", f".*{renamed}.*deprecated", FutureWarning)

# Folder of DeepSpeed's files within a save.
TAG = "engine"
REMEDY = "delete it to go on from the save before, or from the start"


class WithLoss(nn.Module):
    """A model whose forward pass is a whole loss.

    Losses call parts of the model (body, head at chosen positions). Inside DeepSpeed's forward
    pass the weights that ZeRO-3 has split come together for each part as it is called.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[nn.Module], Any]) -> Any:
        """`compute(model)`."""
        return compute(self.model)


@dataclass
class SkippedUpdates:
    """Updates that were left out because their gradient was not finite.

    Attributes:
        total: skipped updates of the whole stage.
        in_a_row: skipped updates since the newest one that was made.
    """

    total: int = 0
    in_a_row: int = 0

    def count(self, skipped: bool) -> None:
        """Take note of one more update."""
        self.total += skipped
        self.in_a_row = self.in_a_row + 1 if skipped else 0


@dataclass(frozen=True)
class Engine:
    """A model in training.

    Attributes:
        model: the model, for forward passes without gradient inside `full_weights`.
        runtime: DeepSpeed's engine around it, which declares no types that hold.
        training: what it was set up with.
        operations: counts operations of the training passes on this rank.
        skipped: updates that were not made.
    """

    model: "PreTrainedModel"
    runtime: Any
    training: TrainingParams
    operations: Counter
    skipped: SkippedUpdates = field(default_factory=SkippedUpdates)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.runtime.device

    @property
    def optimizer_steps(self) -> int:
        """Updates so far, those before a resume and those skipped included."""
        return self.runtime.global_steps


def initialize(model: "PreTrainedModel", training: TrainingParams) -> Engine:
    """Put `model` under DeepSpeed, ready for `diffucoder.engine.loop.optimizer_step`.

    Needs the process group that the worker has opened.

    Args:
        model: the model to train; it is changed in place.
        training: optimizer and engine.
    """
    if training.engine.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if training.engine.compile:
        # Layer by layer: one compilation serves them all, and weights keep their names.
        layers: Any = model.get_decoder().layers
        for layer in layers:
            layer.compile()
    model.train()
    operations = Counter(model)
    wide = {name: b.clone() for name, b in model.named_buffers() if b.is_floating_point()}
    wrapped = WithLoss(model)
    runtime, *_ = deepspeed.initialize(
        model=wrapped, optimizer=adamw(wrapped, training.optimizer), config=settings(training)
    )
    if runtime.dp_world_size == 1 and training.engine.zero_stage == 0:
        # There is no other rank to reduce with; DeepSpeed would copy all gradients to find out.
        runtime.enable_backward_allreduce = False
    # bf16 training rounds buffers too, and rounded rotary frequencies turn far positions by
    # whole radians.
    for name, buffer in model.named_buffers():
        if name in wide:
            buffer.data = wide[name].to(buffer.device)
    return Engine(model, runtime, training, operations)


def adamw(model: nn.Module, optimizer: OptimizerParams) -> torch.optim.AdamW:
    """AdamW that decays matrices only.

    Args:
        model: its weights that get gradients are optimized.
        optimizer: the optimizer's parameters.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": optimizer.weight_decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optimizer.learning_rate,
        betas=optimizer.betas,
        eps=optimizer.epsilon,
        fused=optimizer.fused,
    )


def settings(training: TrainingParams) -> dict[str, Any]:
    """DeepSpeed's configuration for `training`.

    Batch sizes in it are 1: rows, micro-batches and denominators are counted by the loop.
    """
    stage = training.engine.zero_stage
    bf16 = training.engine.precision == "bf16"
    offload = training.engine.offload
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    zero: dict[str, Any] = {"stage": stage}
    if offload != "none":
        zero["offload_optimizer"] = host
    if offload == "optimizer+weights":
        zero["offload_param"] = host
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": training.optimizer.max_grad_norm if stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # Without ZeRO there are no float32 master weights beside bf16 ones, so autocast does it.
        "bf16": {"enabled": bf16 and stage > 0},
        "torch_autocast": {"enabled": bf16 and stage == 0, "dtype": "bfloat16"},
        "steps_per_print": None,
    }


def forward_backward(
    engine: Engine,
    compute: Callable[[nn.Module], tuple[Tensor, Any]],
    last: bool,
    watch: Stopwatch,
) -> tuple[Tensor, Any]:
    """Add the gradient of one micro-batch.

    Args:
        engine: what to train.
        compute: from the model to this rank's part of the step's loss, and anything else.
        last: whether this is the step's last micro-batch, so that gradients can be reduced.
        watch: takes the times `forward` and `backward`.

    Returns:
        What `compute` returned, the loss detached.
    """
    engine.runtime.set_gradient_accumulation_boundary(last)
    loss, extra = engine.runtime(compute)
    watch.lap("forward")
    # DeepSpeed averages gradients over ranks; the parts of one loss are to be added.
    engine.runtime.backward(loss * engine.runtime.dp_world_size)
    watch.lap("backward")
    return loss.detach(), extra


def update(engine: Engine, learning_rate: float) -> float:
    """Apply the gathered gradients, unless they are not finite.

    Args:
        engine: what is in training.
        learning_rate: learning rate of this update.

    Returns:
        Their global norm before clipping; not finite if the update was skipped.
    """
    runtime = engine.runtime
    for group in runtime.optimizer.param_groups:
        group["lr"] = learning_rate
    if engine.training.engine.zero_stage:
        runtime.step()
        return float(runtime.get_global_grad_norm())
    # At stage 0 DeepSpeed clips without telling the norm.
    limit = engine.training.optimizer.max_grad_norm or float("inf")
    norm = float(nn.utils.clip_grad_norm_(engine.model.parameters(), limit))
    if math.isfinite(norm):
        runtime.step()
    else:
        # As DeepSpeed does from stage 1 on.
        runtime.zero_grad()
        runtime.global_steps += 1
    return norm


@contextmanager
def full_weights(engine: Engine) -> Iterator["PreTrainedModel"]:
    """The model for sampling, scoring and reading: all its weights, in training's precision.

    Nothing is dropped out, and layers that training would compute twice keep their caches.
    """
    stage = engine.training.engine.zero_stage
    autocast = settings(engine.training)["torch_autocast"]["enabled"]
    weights = list(engine.model.parameters())
    with (
        deepspeed.zero.GatheredParameters(weights) if stage == 3 else nullcontext(),
        # DeepSpeed enters autocast in its own forward pass alone.
        torch.autocast(engine.device.type, torch.bfloat16, enabled=autocast),
    ):
        engine.model.eval()
        try:
            yield engine.model
        finally:
            engine.model.train()


def save(engine: Engine, folder: Path) -> None:
    """Write weights, optimizer state and step count below `folder`; all ranks call it.

    Weights that are not trained are left out: they are those of the checkpoint that the stage
    started from, whose content is part of the job's identity.

    Args:
        engine: what to save.
        folder: folder that takes the state.

    Raises:
        OSError, RuntimeError: if the disk is full or cannot be written.
    """
    engine.runtime.save_checkpoint(
        str(folder), tag=TAG, save_latest=False, exclude_frozen_parameters=True
    )


def load(engine: Engine, folder: Path, resharded: bool) -> None:
    """Read back what `save` or `reshard` wrote; all ranks call it.

    Args:
        engine: what to restore.
        folder: the save.
        resharded: whether `reshard` wrote it.

    Raises:
        BadCheckpoint: if there is no state below `folder`, or it cannot be read.
    """
    if not (folder / TAG).is_dir():
        # DeepSpeed would go on with untrained weights and say nothing.
        raise BadCheckpoint(f"{folder}: holds no {TAG!r} folder with DeepSpeed's state; {REMEDY}")
    # DeepSpeed reads this when it loads, but takes it with the settings it starts with.
    engine.runtime._config.load_universal_checkpoint = resharded
    whole = all(weight.requires_grad for weight in engine.model.parameters())
    groups = engine.runtime.optimizer.param_groups
    own = [{key: group[key] for key in group if key != "params"} for group in groups]
    try:
        engine.runtime.load_checkpoint(str(folder), tag=TAG, load_module_strict=whole)
    except Exception as error:
        raise BadCheckpoint(f"{folder}: cannot be read ({error!r}); {REMEDY}") from error
    finally:
        engine.runtime._config.load_universal_checkpoint = False
    if resharded:
        # ZeRO-3 gives every group the weight decay of the first, and all of them one count of
        # steps, which each would then advance.
        for group, values in zip(engine.runtime.optimizer.param_groups, own, strict=True):
            group.update(values)
        for values in engine.runtime.optimizer.optimizer.state.values():
            values["step"] = values["step"].clone()


def reshard(folder: Path, target: Path) -> None:
    """Convert what `save` wrote under ZeRO for any number of ranks; one process calls it.

    Args:
        folder: the save.
        target: directory that takes the new layout, as DeepSpeed's universal checkpoint.

    Raises:
        BadCheckpoint: if the save cannot be read, or the disk is full.
    """
    converter = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"]
    folders = ["--input_folder", str(folder / TAG), "--output_folder", str(target / TAG)]
    workers = ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    done = subprocess.run(
        [*converter, *folders, *workers, "--inject_missing_state"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=die_with_parent,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-5:])
        raise BadCheckpoint(
            f"{folder}: cannot be laid out for another number of ranks: {last}; run with the "
            f"number that wrote it, or {REMEDY}"
        )


def export(engine: Engine, tokenizer: "PreTrainedTokenizerBase", path: Path) -> None:
    """Write a Hugging Face directory (safetensors, config, tokenizer); all ranks call it.

    Rank 0 writes; the directory appears whole, in place of one of that name, with the marker
    `COMPLETE`.

    Args:
        engine: what to export.
        tokenizer: the model's tokenizer.
        path: directory to write.

    Raises:
        TrainingFailed: if the disk is full or cannot be written; what was at `path` stays.
    """
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    # A bar that is redrawn in place makes a line of a log for every redraw.
    disable_progress_bar()
    with full_weights(engine) as model:
        if engine.runtime.global_rank == 0:
            try:
                with atomic_directory(path) as partial:
                    model.save_pretrained(partial, state_dict=lora.merged(model))
                    tokenizer.save_pretrained(partial)
            except (OSError, SafetensorError) as error:
                raise TrainingFailed(
                    f"cannot write the checkpoint {path}: {error}; make room there and run again"
                ) from error
    torch.distributed.barrier()
