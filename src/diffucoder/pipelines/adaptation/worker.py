"""One phase of adaptation, on every rank.

Shapes: B rows, L positions.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from diffucoder.config.adaptation import PhaseParams, WeightingParams
from diffucoder.data.packing import ShardReader
from diffucoder.data.tokenizer import special_ids
from diffucoder.diffusion.denoising import denoising_loss
from diffucoder.engine import deepspeed
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import Prepared, fit
from diffucoder.model import load, set_bidirectional
from diffucoder.model.attention import opened_mask, reveal_draw, reveal_share
from diffucoder.model.compute import configure
from diffucoder.model.kernels import documents_apart
from diffucoder.model.positions import packed_position_ids
from diffucoder.pipelines.adaptation.rows import adaptation_row
from diffucoder.pipelines.packed import PackedRow, packed_rows


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `model` on `shards`; write a bidirectional one to `job.output`."""
    params = PhaseParams(**job.parameters)
    model, tokenizer = load(job.inputs["model"], dtype=torch.float32)
    set_bidirectional(model)
    chosen = configure(model, params.training.engine, context.device)
    if context.rank == 0:
        print(f"{job.stage}: {chosen}", flush=True)
    engine = deepspeed.initialize(model, params.training)
    fit(
        context,
        engine,
        packed_rows(ShardReader(job.inputs["shards"]), job.seed),
        preparer(params, special_ids(tokenizer).mask, context.generator),
        partial(adaptation_loss, params.weighting),
    )
    deepspeed.export(engine, tokenizer, job.output)


def preparer(
    params: PhaseParams, mask_token_id: int, generator_of: Callable[[int], torch.Generator]
) -> Callable[[Sequence[PackedRow], int, list[torch.Generator]], Prepared]:
    """The function that noises rows for a step.

    Args:
        params: shares of exceptional rows, length of the annealing.
        mask_token_id: what stands in for a hidden token.
        generator_of: the source of what all rows of a step share.
    """

    def prepare(
        rows: Sequence[PackedRow], step: int, generators: list[torch.Generator]
    ) -> Prepared:
        noised = [
            adaptation_row(
                *row, params.truncated_share, params.prefix_share, mask_token_id, generator
            )
            for row, generator in zip(rows, generators, strict=True)
        ]
        tensors = {name: torch.cat([row[name] for row in noised]) for name in noised[0]}
        denominator = float(tensors.pop("maskable").sum())
        rho = reveal_share(step, params.anneal_steps)
        if rho < 1:
            length = tensors["tokens"].shape[1]
            tensors["revealed"] = reveal_draw(length, rho, generator_of(step))
        return Prepared(tensors, denominator, tokens=tensors["tokens"].numel())

    return prepare


def adaptation_loss(
    weighting: WeightingParams, model: nn.Module, tensors: dict[str, Tensor], denominator: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The masked diffusion loss of packed rows, documents kept apart.

    Args:
        weighting: 1/t or CART.
        model: a causal-LM module of transformers.
        tensors: a batch of `rows.adaptation_row`, and `revealed` `[L, L]` while attention is
            being annealed.
        denominator: maskable tokens of the whole optimizer step.
    """
    documents_BL = tensors["document_ids"]
    if "revealed" in tensors:
        attention = opened_mask(documents_BL, tensors["revealed"])
    else:
        attention = documents_apart(model, documents_BL)
    positions_BL = packed_position_ids(documents_BL)
    return denoising_loss(model, tensors, weighting, denominator, attention, positions_BL)
