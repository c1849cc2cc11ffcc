"""What a stage is about to do: weights, tokens, memory of a rank, saves; whether it fits.

Estimates, in bytes. Model states are those of ZeRO (Rajbhandari et al., arXiv 1910.02054, section
3), with the buffers that DeepSpeed's own estimators count. Activations are what a layer of a
Qwen2-shaped model keeps for the backward pass.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn

from diffucoder.config.engine import EngineParams
from diffucoder.config.training import TrainingParams
from diffucoder.engine.context import Context
from diffucoder.errors import BadParameters
from diffucoder.model.projection import MIB, PLAIN_BYTES
from diffucoder.progress import duration

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLAN_FILE = "plan.json"
GB = 1e9
FULL = 4
# Master weights, two moments, and their gradient while the step is made, all in float32.
OPTIMIZER_BYTES = 16
# DeepSpeed's allowance for pinned copies of what is offloaded.
HOST_FACTOR = 1.5
# Device memory that the allocator and kernels take beside tensors.
USABLE = 0.92


@dataclass(frozen=True)
class Shape:
    """What memory depends on in a model and its rows.

    Attributes:
        weights: numbers of the model, adapters included.
        trained: those that get gradients.
        largest: weights of the largest module without parts, gathered at once by ZeRO-3.
        layers, hidden, heads_width, intermediate, vocabulary: sizes of the model; `heads_width`
            is all query heads' channels.
        length: tokens per row.
        forward_passes: forward passes through a micro-batch before its backward pass.
        frozen_params: weights of frozen models on the same device.
    """

    weights: int
    trained: int
    largest: int
    layers: int
    hidden: int
    heads_width: int
    intermediate: int
    vocabulary: int
    length: int
    forward_passes: int
    frozen_params: int


@dataclass(frozen=True)
class Plan:
    """What a rank needs, in bytes.

    Attributes:
        states: weights, gradients and optimizer on the device.
        activations: what the forward pass keeps for the backward pass.
        logits: scores over the vocabulary.
        host: offloaded state of all ranks of a machine.
        save: one save of all ranks.
    """

    states: float
    activations: float
    logits: float
    host: float
    save: float

    @property
    def device(self) -> float:
        """All that lies on the device at once."""
        return self.states + self.activations + self.logits


def announce(
    context: Context,
    model: "PreTrainedModel",
    training: TrainingParams,
    length: int,
    forward_passes: int = 1,
    frozen_params: int = 0,
) -> None:
    """Print what is about to be done, write it to `plan.json`, and stop if it does not fit.

    Args:
        context: this rank.
        model: before DeepSpeed splits it.
        training: steps, batch and engine.
        length: tokens per row.
        forward_passes: forward passes through a micro-batch before its backward pass.
        frozen_params: weights of frozen models on the same device.

    Raises:
        BadParameters: if the device cannot hold it; says which setting would make it fit.
    """
    shape = shape_of(model, length, forward_passes, frozen_params)
    plan = estimate(shape, training.engine, context.world_size)
    if context.rank == 0:
        found = {"shape": asdict(shape), "bytes": asdict(plan), "ranks": context.world_size}
        (context.job.work / PLAN_FILE).write_text(json.dumps(found, indent=2), encoding="utf-8")
        for line in describe(shape, plan, training, context.world_size):
            print(f"{context.job.stage}: {line}", flush=True)
    check(
        context.job.stage, shape, training.engine, context.world_size, capacity(context, training)
    )


def shape_of(
    model: "PreTrainedModel", length: int, forward_passes: int = 1, frozen_params: int = 0
) -> Shape:
    """The `Shape` of a model of transformers.

    Args:
        model: a causal-LM module of transformers.
        length: tokens per row.
        forward_passes: forward passes through a micro-batch before its backward pass.
        frozen_params: weights of frozen models on the same device.
    """
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        weights=sum(weight.numel() for weight in model.parameters()),
        trained=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        largest=max(_own_weights(module) for module in model.modules()),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads_width=config.num_attention_heads * head,
        intermediate=config.intermediate_size,
        vocabulary=config.vocab_size,
        length=length,
        forward_passes=forward_passes,
        frozen_params=frozen_params,
    )


def estimate(shape: Shape, engine: EngineParams, world_size: int) -> Plan:
    """Memory of one rank of `world_size`, in bytes.

    Args:
        shape: sizes of the model and its rows.
        engine: precision, ZeRO, offloading and micro-batch.
        world_size: number of ranks.
    """
    half = engine.precision == "bf16"
    narrow = 2 if half and engine.zero_stage else FULL
    machines = max(world_size // engine.nproc_per_node, 1)
    tokens = engine.micro_batch * shape.length * shape.forward_passes
    layer = tokens * layer_bytes(shape, 2 if half else FULL)
    if engine.gradient_checkpointing:
        stream = tokens * shape.hidden * (2 if half else FULL)
        activations = shape.layers * stream + layer
    else:
        activations = shape.layers * layer
    frozen = shape.weights - shape.trained
    offloaded = {"none": 0, "optimizer": OPTIMIZER_BYTES, "optimizer+weights": 18}[engine.offload]
    return Plan(
        states=shape.trained * state_bytes(engine, world_size)
        + frozen * narrow / (world_size if engine.zero_stage == 3 else 1)
        + (2 * narrow * shape.largest if engine.zero_stage == 3 else 0)
        + narrow * shape.frozen_params,
        activations=activations,
        logits=logit_bytes(shape, tokens, engine.logits_mib),
        host=HOST_FACTOR * offloaded * shape.trained / machines,
        # Weights as they compute, master weights, two moments.
        save=shape.trained * (narrow + (12 if engine.zero_stage else 8)),
    )


def state_bytes(engine: EngineParams, world_size: int) -> float:
    """Bytes on a rank's device for each weight: itself, its gradient, its optimizer state.

    Args:
        engine: precision, ZeRO stage and offloading.
        world_size: number of ranks.
    """
    half, stage = engine.precision == "bf16", engine.zero_stage
    if stage == 0:
        # Autocast keeps a copy of the weights in half precision.
        return 4 * FULL + (2 if half else 0)
    narrow = 2 if half else FULL
    weight = narrow / world_size if stage == 3 else narrow
    gradient = {1: narrow, 2: narrow / world_size, 3: 0}[stage]
    if engine.offload == "none":
        return weight + gradient + OPTIMIZER_BYTES / world_size
    if engine.offload == "optimizer":
        return weight + (gradient if stage == 1 else 0)
    return 0.0


def logit_bytes(shape: Shape, tokens: int, mib: float) -> float:
    """Bytes of logits and what a loss makes of them.

    Where they do not fit into `mib`, chunks do, beside the head's gradient summed in float32.

    Args:
        shape: sizes of the model.
        tokens: positions that are scored together.
        mib: memory that logits may take, in MiB.
    """
    at_once = PLAIN_BYTES * tokens * shape.vocabulary
    return min(at_once, mib * MIB + FULL * shape.vocabulary * shape.hidden)


def layer_bytes(shape: Shape, precision: int) -> float:
    """Bytes that a layer keeps of each token for its backward pass.

    Norms keep their input in float32 and two results; attention its queries, keys and values (of
    all heads) and twice its result; the gated feed-forward layer four intermediate results.

    Args:
        shape: sizes of the model.
        precision: bytes per number in the forward pass.
    """
    norms = 2 * shape.hidden * (FULL + 2 * precision)
    return norms + precision * (5 * shape.heads_width + 4 * shape.intermediate)


def describe(shape: Shape, plan: Plan, training: TrainingParams, world_size: int) -> list[str]:
    """The plan as lines of text, one per subject.

    Args:
        shape: sizes of the model and its rows.
        plan: memory of a rank.
        training: steps, batch and engine.
        world_size: number of ranks.
    """
    engine = training.engine
    tokens = training.steps * training.batch_size * shape.length
    share = training.batch_size // world_size
    kept = engine.save_total_limit + engine.keep_best
    return [
        f"{shape.weights / 1e6:,.1f} M weights, {shape.trained / 1e6:,.1f} M of them trained",
        f"{training.steps:,} steps of {training.batch_size:,} rows of {shape.length:,} "
        f"tokens: {tokens / 1e6:,.1f} M tokens",
        f"{world_size} rank{'s' if world_size > 1 else ''}, ZeRO stage {engine.zero_stage}, "
        f"{engine.precision}: {share} rows of a step each, {engine.micro_batch} at a time",
        f"memory of a rank: {plan.device / GB:,.2f} GB (states {plan.states / GB:,.2f}, "
        f"activations {plan.activations / GB:,.2f}, logits {plan.logits / GB:,.2f})"
        + (f", and of its machine {plan.host / GB:,.2f} GB" if plan.host else ""),
        f"a save of {plan.save / GB:,.2f} GB every {duration(engine.save_every_s)}, {kept} kept: "
        f"{(kept + 1) * plan.save / GB:,.2f} GB of disk while one is written",
    ]


def capacity(context: Context, training: TrainingParams) -> float:
    """Bytes that a rank may use: of its GPU, or its share of the machine's memory.

    Args:
        context: this rank.
        training: its engine says how many ranks share a machine.
    """
    if context.device.type == "cuda":
        return USABLE * torch.cuda.get_device_properties(context.device).total_memory
    local = min(training.engine.nproc_per_node, context.world_size)
    return USABLE * psutil.virtual_memory().total / local


def check(
    stage: str, shape: Shape, engine: EngineParams, world_size: int, available: float
) -> None:
    """Make sure that the plan fits into `available` bytes.

    Args:
        stage: name of the stage, for the message.
        shape: sizes of the model and its rows.
        engine: settings of the engine.
        world_size: number of ranks.
        available: bytes that a rank may use.

    Raises:
        BadParameters: if it does not; says which setting would make it fit.
    """
    plan = estimate(shape, engine, world_size)
    if plan.device <= available:
        return
    fitting = next(
        (
            change
            for change in changes(engine, world_size)
            if estimate(shape, engine.model_copy(update=change), world_size).device <= available
        ),
        None,
    )
    if fitting:
        remedy = "it would fit with " + ", ".join(f"engine.{k}: {v}" for k, v in fitting.items())
    else:
        remedy = "no setting of the engine makes it fit: use more ranks, or shorter rows"
    raise BadParameters(
        f"{stage}: a rank needs about {plan.device / GB:,.1f} GB (states {plan.states / GB:,.1f}, "
        f"activations {plan.activations / GB:,.1f}, logits {plan.logits / GB:,.1f}) and its device "
        f"has {available / GB:,.1f} GB to give; {remedy}"
    )


def changes(engine: EngineParams, world_size: int) -> Iterator[dict[str, Any]]:
    """Settings that need less memory: the cheapest in time first, then several together.

    Args:
        engine: settings to start from.
        world_size: number of ranks.
    """
    slower: list[dict[str, Any]] = []
    halvings = int(math.log2(engine.micro_batch))
    slower += [{"micro_batch": engine.micro_batch >> n} for n in range(1, halvings + 1)]
    if not engine.gradient_checkpointing:
        slower.append({"gradient_checkpointing": True})
    if world_size > 1:
        slower += [{"zero_stage": stage} for stage in range(engine.zero_stage + 1, 4)]
    if engine.offload == "none":
        slower.append({"offload": "optimizer", "zero_stage": max(engine.zero_stage, 1)})
    if engine.offload != "optimizer+weights":
        slower.append({"offload": "optimizer+weights", "zero_stage": 3})
    yield from slower
    together: dict[str, Any] = {}
    for change in slower:
        together = together | change
        yield together


def _own_weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters(recurse=False))
