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
from diffucoder.engine import lora, zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import Prepared, fit
from diffucoder.engine.plan import announce
from diffucoder.model import load, set_bidirectional
from diffucoder.model.attention import anneal_ratio, annealed_mask, sample_future_mask
from diffucoder.model.compute import configure
from diffucoder.model.kernels import document_attention
from diffucoder.model.positions import packed_position_ids
from diffucoder.training.adaptation_rows import adaptation_row
from diffucoder.training.packed import PackedRow, packed_rows


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `model` on `shards`; write a bidirectional one to `job.output`."""
    params = PhaseParams(**job.parameters)
    model, tokenizer = load(job.inputs["model"], dtype=torch.float32)
    set_bidirectional(model)
    chosen = configure(model, params.training.engine, context.device)
    if context.rank == 0:
        print(f"{job.stage}: {chosen}", flush=True)
    if params.lora is not None:
        lora.add(model, params.lora, context.generator())
    shards = ShardReader(job.inputs["shards"])
    announce(context, model, params.training, shards.length)
    engine = zero.initialize(model, params.training)
    fit(
        context,
        engine,
        packed_rows(shards, job.seed),
        preparer(params, special_ids(tokenizer).mask, context.generator),
        partial(adaptation_loss, params.weighting),
    )
    zero.export(engine, tokenizer, job.output)


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
        rho = anneal_ratio(step, params.anneal_steps)
        if rho < 1:
            length = tensors["tokens"].shape[1]
            tensors["revealed"] = sample_future_mask(length, rho, generator_of(step))
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
        attention = annealed_mask(documents_BL, tensors["revealed"])
    else:
        attention = document_attention(model, documents_BL)
    positions_BL = packed_position_ids(documents_BL)
    return denoising_loss(model, tensors, weighting, denominator, attention, positions_BL)
