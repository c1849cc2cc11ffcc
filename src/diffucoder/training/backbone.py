"""The backbone's work, on every rank: train an autoregressive model, or take one over.

Shapes: B rows, L positions.
"""

from collections.abc import Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from diffucoder.config.backbone import BackboneParams
from diffucoder.config.engine import LOGITS_MIB
from diffucoder.data.packing import ShardReader
from diffucoder.diffusion.denoising import token_means
from diffucoder.diffusion.objectives import projected_loss
from diffucoder.engine import zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, fit
from diffucoder.io.atomic import atomic_directory
from diffucoder.loss import LossOutput
from diffucoder.model import create, load, load_tokenizer
from diffucoder.model.attention import causal_mask
from diffucoder.model.positions import packed_position_ids, predictable_mask
from diffucoder.model.projection import aligned_states
from diffucoder.model.special_tokens import add_token_embeddings, new_token_ids
from diffucoder.training.packed import PackedTokens, packed_rows
from diffucoder.training.setup import choose_kernels, open_stage


def work(job: Job, context: Context) -> None:
    """Write an autoregressive checkpoint to `job.output`.

    Inputs of the job: `tokenizer`, `token_shards`, and `source` where a directory is taken over.

    Args:
        job: inputs `tokenizer` and `token_shards`, and parameters.
        context: this rank.
    """
    params = BackboneParams(**job.parameters)
    if params.source is None:
        _pretrain(job, context, params)
    elif context.rank == 0:
        _take_over(job, context, params.source)


def _pretrain(job: Job, context: Context, params: BackboneParams) -> None:
    tokenizer = load_tokenizer(job.inputs["tokenizer"])
    model = create(params.architecture, tokenizer, context.generator())
    choose_kernels(context, model, params.training.engine)
    shards = ShardReader(job.inputs["token_shards"])
    stage = open_stage(context, model, tokenizer, params.training, shards.length)
    loss = partial(next_token_loss, logits_mib=params.training.engine.logits_mib)
    fit(context, stage.engine, packed_rows(shards, job.seed), prepare, loss)
    zero.export(stage.engine, tokenizer, job.output)


def _take_over(job: Job, context: Context, source: str) -> None:
    """Save a checkpoint under the pipeline's tokenizer, with room for the tokens it lacks."""
    # Nothing is trained, so nothing that an earlier run recorded here may stand.
    context.reporter.rewind(None)
    model, known = load(source)
    tokenizer = load_tokenizer(job.inputs["tokenizer"])
    add_token_embeddings(model, new_token_ids(known, tokenizer, source), context.generator())
    with atomic_directory(job.output) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def prepare(
    rows: Sequence[PackedTokens], step: int, generators: Sequence[torch.Generator]
) -> MicroBatch[PackedTokens]:
    """Stack packed rows; nothing is drawn.

    Args:
        rows: packed rows.
        step: not read.
        generators: not read.
    """
    batch = PackedTokens.stack(rows)
    return MicroBatch(
        batch,
        denominator=float(predictable_mask(batch.document_ids).sum()),
        tokens=batch.input_ids.numel(),
    )


def next_token_loss(
    model: PreTrainedModel, batch: PackedTokens, denominator: float, logits_mib: float = LOGITS_MIB
) -> LossOutput:
    """Mean cross-entropy of each token given those before it in its document, in nats.

    Args:
        model: a causal-LM module of transformers.
        batch: packed rows, `[B, L]`.
        denominator: predicted tokens of the whole optimizer step.
        logits_mib: as in `objectives.projected_loss`.
    """
    tokens_BL, documents_BL = batch.input_ids, batch.document_ids
    predicted_BL = predictable_mask(documents_BL)
    states_BLD = aligned_states(
        model, tokens_BL, causal_mask(documents_BL), packed_position_ids(documents_BL)
    )
    equal_BL = torch.ones_like(tokens_BL, dtype=torch.float32)
    loss, sums = projected_loss(
        model, states_BLD, tokens_BL, predicted_BL, equal_BL, denominator, logits_mib
    )
    return LossOutput(loss, token_means(sums))
