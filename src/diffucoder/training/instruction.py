"""Instruction tuning, on every rank.

Shapes: B rows, L positions.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import nn

from diffucoder.config.adaptation import WeightingParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.data.tokenizer import SpecialIds, special_ids
from diffucoder.diffusion.denoising import NoisedBatch, denoising_loss
from diffucoder.engine import lora, zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, fit
from diffucoder.engine.plan import announce
from diffucoder.model import load, set_bidirectional
from diffucoder.model.compute import configure
from diffucoder.model.loss import LossOutput
from diffucoder.training.instruction_rows import (
    condition_share,
    instruction_row,
    read_pairs,
    shuffled,
)


class Pair(NamedTuple):
    """A pair, and the probability that its prompt is a condition when it is read."""

    prompt: list[int]
    response: list[int]
    share: float


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `model` on `tokenized_pairs`; write the tuned one to `job.output`."""
    params = InstructionParams(**job.parameters)
    pairs, too_long = read_pairs(job.inputs["tokenized_pairs"], params.row_length)
    if too_long and context.rank == 0:
        logging.getLogger(__name__).warning(
            "%d of %d pairs are longer than instruction.row_length = %d tokens: left out",
            too_long,
            too_long + pairs.num_rows,
            params.row_length,
        )
    model, tokenizer = load(job.inputs["model"], dtype=torch.float32)
    set_bidirectional(model)
    chosen = configure(model, params.training.engine, context.device)
    if context.rank == 0:
        print(f"{job.stage}: {chosen}", flush=True)
    if params.lora is not None:
        lora.add(model, params.lora, context.generator())
    announce(context, model, params.training, params.row_length)
    engine = zero.initialize(model, params.training)
    fit(
        context,
        engine,
        pairs_between(pairs, params.phase_in_epochs, job.seed),
        partial(prepare, params.row_length, special_ids(tokenizer)),
        partial(instruction_loss, params.weighting),
    )
    zero.export(engine, tokenizer, job.output)


def pairs_between(
    pairs: pa.Table, phase_in_epochs: float, seed: int
) -> Callable[[int, int], list[Pair]]:
    """Rows number `first` to `last` - 1 of an endless reading, shuffled anew each epoch."""
    prompts, responses = pairs["prompt_ids"], pairs["response_ids"]

    def rows_between(first: int, last: int) -> list[Pair]:
        positions = range(first, last)
        return [
            Pair(
                prompts[index].as_py(),
                responses[index].as_py(),
                condition_share(position, pairs.num_rows, phase_in_epochs),
            )
            for position, index in zip(
                positions, shuffled(positions, pairs.num_rows, seed), strict=True
            )
        ]

    return rows_between


def prepare(
    row_length: int,
    special: SpecialIds,
    rows: Sequence[Pair],
    step: int,
    generators: Sequence[torch.Generator],
) -> MicroBatch[NoisedBatch]:
    """Noise pairs; each draws from its own generator."""
    noised = NoisedBatch.concatenate(
        [
            instruction_row(row.prompt, row.response, row_length, row.share, special, generator)
            for row, generator in zip(rows, generators, strict=True)
        ]
    )
    return MicroBatch(
        noised, denominator=float(noised.maskable.sum()), tokens=noised.tokens.numel()
    )


def instruction_loss(
    weighting: WeightingParams, model: nn.Module, batch: NoisedBatch, denominator: float
) -> LossOutput:
    """The masked diffusion loss of rows that are one document each, padding included."""
    return denoising_loss(model, batch, weighting, denominator)
