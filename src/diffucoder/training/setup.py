"""What every stage does before its first step: a model, its kernels, a plan, the engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from diffucoder.config.training import EngineParams, LoraParams, TrainingParams
from diffucoder.data.tokenizer import SpecialIds, special_ids
from diffucoder.engine import lora, zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.plan import announce
from diffucoder.model import load, set_bidirectional
from diffucoder.model.compute import configure

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class StageParams(Protocol):
    """What the parameters of a stage that trains a checkpoint have in common."""

    @property
    def training(self) -> TrainingParams:
        """Steps, batch, optimizer and engine."""
        ...

    @property
    def lora(self) -> LoraParams | None:
        """Adapters to train instead of all weights; None trains all."""
        ...


@dataclass(frozen=True)
class Stage:
    """A model that is ready to be trained.

    Attributes:
        model: The model; while training its weights are the engine's.
        tokenizer: The model's tokenizer.
        special: Ids of the tokenizer's special tokens.
        engine: The model under DeepSpeed.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    special: SpecialIds
    engine: zero.Engine


def load_model(
    job: Job, context: Context, params: StageParams, checkpoint: str = "model"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a checkpoint for training: float32, bidirectional, with adapters where asked for.

    Args:
        job: The stage's job.
        context: This rank.
        params: The stage's parameters.
        checkpoint: Name of the input that is the checkpoint.

    Returns:
        The model and its tokenizer.

    Raises:
        BadCheckpoint: If the checkpoint cannot be loaded.
        BadParameters: If the kernel or a module that the parameters name does not exist here.
    """
    model, tokenizer = load(job.inputs[checkpoint], dtype=torch.float32)
    set_bidirectional(model)
    choose_kernels(context, model, params.training.engine)
    if params.lora is not None:
        lora.add(model, params.lora, context.generator())
    return model, tokenizer


def choose_kernels(context: Context, model: "PreTrainedModel", engine: EngineParams) -> None:
    """Set how the model computes on this machine, in place, and print what was chosen.

    Args:
        context: This rank.
        model: The model.
        engine: Settings of the engine.

    Raises:
        BadParameters: If the attention kernel that `engine` names cannot run here.
    """
    chosen = configure(model, engine, context.device)
    if context.rank == 0:
        print(f"{context.job.stage}: {chosen}", flush=True)


def open_stage(
    context: Context,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    training: TrainingParams,
    row_length: int,
    forward_passes: int = 1,
    frozen_params: int = 0,
) -> Stage:
    """Print and check the plan, then put the model under DeepSpeed; all ranks call it.

    Args:
        context: This rank.
        model: The model to train.
        tokenizer: Its tokenizer.
        training: Steps, batch, optimizer and engine.
        row_length: Tokens of a row.
        forward_passes: Forward passes through a micro-batch before its backward pass.
        frozen_params: Weights of frozen models on the same device.

    Raises:
        BadData: If the tokenizer lacks a special token.
        BadParameters: If the device cannot hold the training.
    """
    special = special_ids(tokenizer)
    announce(context, model, training, row_length, forward_passes, frozen_params)
    return Stage(model, tokenizer, special, zero.initialize(model, training))
