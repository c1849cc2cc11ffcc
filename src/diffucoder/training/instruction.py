"""Instruction tuning, on every rank.

Shapes: B rows, L positions.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import torch
from transformers import PreTrainedModel

from diffucoder.config.engine import LOGITS_MIB
from diffucoder.config.instruction import InstructionParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.diffusion.denoising import NoisedBatch, denoising_loss
from diffucoder.diffusion.options import Weighting
from diffucoder.engine import zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, fit
from diffucoder.loss import LossOutput
from diffucoder.training.instruction_rows import (
    condition_share,
    instruction_row,
    read_pairs,
    shuffled,
)
from diffucoder.training.setup import load_model, open_stage


class Pair(NamedTuple):
    """An instruction pair as it is read.

    Attributes:
        prompt: Tokens of the user's turn.
        response: Tokens of the answer.
        share: Probability that the prompt is a condition.
    """

    prompt: list[int]
    response: list[int]
    share: float


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `model` on `tokenized_pairs`; write the tuned one to `job.output`.

    Args:
        job: inputs `model` and `tokenized_pairs`.
        context: this rank.
    """
    params = InstructionParams(**job.parameters)
    pairs, too_long = read_pairs(job.inputs["tokenized_pairs"], params.row_length)
    if too_long and context.rank == 0:
        logging.getLogger(__name__).warning(
            "%d of %d pairs are longer than instruction.row_length = %d tokens: left out",
            too_long,
            too_long + pairs.num_rows,
            params.row_length,
        )
    model, tokenizer = load_model(job, context, params)
    stage = open_stage(context, model, tokenizer, params.training, params.row_length)
    fit(
        context,
        stage.engine,
        pairs_between(pairs, params.phase_in_epochs, job.seed),
        partial(prepare, params.row_length, stage.special),
        partial(instruction_loss, params.weighting, logits_mib=params.training.engine.logits_mib),
    )
    zero.export(stage.engine, tokenizer, job.output)


def pairs_between(
    pairs: pa.Table, phase_in_epochs: float, seed: int
) -> Callable[[int, int], list[Pair]]:
    """A reader of rows number `first` to `last` - 1 of an endless shuffled reading.

    Args:
        pairs: columns `prompt_ids` and `response_ids`.
        phase_in_epochs: as in `condition_share`.
        seed: random seed of the order.
    """
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
    """Noise pairs; each draws from its own generator.

    Args:
        row_length: tokens per row.
        special: ids of the special tokens.
        rows: the pairs.
        step: not read.
        generators: one per pair.
    """
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
    weighting: Weighting,
    model: PreTrainedModel,
    batch: NoisedBatch,
    denominator: float,
    logits_mib: float = LOGITS_MIB,
) -> LossOutput:
    """The masked diffusion loss of rows that are one document each, padding included.

    Args:
        weighting: 1/t or CART.
        model: a causal-LM module of transformers.
        batch: noised rows.
        denominator: maskable tokens of the whole optimizer step.
        logits_mib: as in `objectives.projected_loss`.
    """
    return denoising_loss(model, batch, weighting, denominator, logits_mib=logits_mib)
