"""One phase of adaptation, on every rank.

Shapes: B rows, L positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.adaptation import PhaseParams
from diffucoder.config.engine import LOGITS_MIB
from diffucoder.data.packing import ShardReader
from diffucoder.diffusion.denoising import NoisedBatch, denoising_loss
from diffucoder.diffusion.options import Weighting
from diffucoder.engine import zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, fit
from diffucoder.loss import LossOutput
from diffucoder.model.attention import anneal_ratio, annealed_mask, sample_future_mask
from diffucoder.model.kernels import document_attention
from diffucoder.model.positions import packed_position_ids
from diffucoder.training.adaptation_rows import adaptation_row
from diffucoder.training.packed import PackedTokens, packed_rows
from diffucoder.training.setup import load_model, open_stage


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `model` on `shards`; write a bidirectional one to `job.output`.

    Args:
        job: inputs `model` and `shards`.
        context: this rank.
    """
    params = PhaseParams(**job.parameters)
    model, tokenizer = load_model(job, context, params)
    shards = ShardReader(job.inputs["shards"])
    stage = open_stage(context, model, tokenizer, params.training, shards.length)
    fit(
        context,
        stage.engine,
        packed_rows(shards, job.seed),
        preparer(params, stage.special.mask, context.generator),
        partial(adaptation_loss, params.weighting, logits_mib=params.training.engine.logits_mib),
    )
    zero.export(stage.engine, tokenizer, job.output)


@dataclass(frozen=True)
class AdaptationBatch:
    """Packed rows that are noised, with the step's attention.

    Attributes:
        noised: the rows.
        future_mask: bool `[L, L]`, pairs of positions open to attention whatever their order,
            shared by all rows of the step; None once annealing is over.
    """

    noised: NoisedBatch
    future_mask: Tensor | None

    def to(self, device: torch.device) -> "AdaptationBatch":
        """The batch on `device`."""
        future_mask = None if self.future_mask is None else self.future_mask.to(device)
        return AdaptationBatch(self.noised.to(device), future_mask)


def preparer(
    params: PhaseParams, mask_token_id: int, generator_of: Callable[[int], torch.Generator]
) -> Callable[
    [Sequence[PackedTokens], int, Sequence[torch.Generator]], MicroBatch[AdaptationBatch]
]:
    """The function that noises rows for a step.

    Args:
        params: shares of exceptional rows, length of the annealing.
        mask_token_id: id of the mask token.
        generator_of: the generator of what all rows of a step share.
    """

    def prepare(
        rows: Sequence[PackedTokens], step: int, generators: Sequence[torch.Generator]
    ) -> MicroBatch[AdaptationBatch]:
        noised = NoisedBatch.concatenate(
            [
                adaptation_row(
                    row, params.truncated_share, params.prefix_share, mask_token_id, generator
                )
                for row, generator in zip(rows, generators, strict=True)
            ]
        )
        length, rho = noised.tokens.shape[1], anneal_ratio(step, params.anneal_steps)
        future_mask = sample_future_mask(length, rho, generator_of(step)) if rho < 1 else None
        return MicroBatch(
            AdaptationBatch(noised, future_mask),
            denominator=float(noised.maskable.sum()),
            tokens=noised.tokens.numel(),
        )

    return prepare


def adaptation_loss(
    weighting: Weighting,
    model: PreTrainedModel,
    batch: AdaptationBatch,
    denominator: float,
    logits_mib: float = LOGITS_MIB,
) -> LossOutput:
    """The masked diffusion loss of packed rows, documents kept apart.

    Args:
        weighting: 1/t or CART.
        model: a causal-LM module of transformers.
        batch: noised rows, and the step's attention.
        denominator: maskable tokens of the whole optimizer step.
        logits_mib: as in `objectives.projected_loss`.
    """
    documents_BL = batch.noised.document_ids
    if batch.future_mask is not None:
        attention = annealed_mask(documents_BL, batch.future_mask)
    else:
        attention = document_attention(model, documents_BL)
    positions_BL = packed_position_ids(documents_BL)
    return denoising_loss(
        model, batch.noised, weighting, denominator, attention, positions_BL, logits_mib
    )
