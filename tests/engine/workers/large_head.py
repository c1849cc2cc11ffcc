"""Trains the tiny model by a diffusion loss whose logits get a given memory."""

from functools import partial

import torch
from tiny_stage import VOCABULARY, tiny_model

from diffucoder.config.training import TrainingParams
from diffucoder.diffusion.denoising import NoisedBatch, corrupt, denoising_loss
from diffucoder.diffusion.options import InverseTimeWeighting
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, optimizer_step
from diffucoder.engine.zero import full_weights, initialize
from diffucoder.loss import LossOutput

LENGTH, MASK = 12, VOCABULARY - 1
WEIGHTING = InverseTimeWeighting(kind="inverse_t")


def work(job: Job, context: Context) -> None:
    training = TrainingParams.model_validate(job.parameters["training"])
    weights = train(training, context, job.parameters["logits_mib"])
    if context.rank == 0:
        torch.save(weights, job.output)


def train(
    training: TrainingParams, context: Context, mib: float, tied: bool = True
) -> dict[str, torch.Tensor]:
    """Weights after `training.steps` on this rank's share of random rows."""
    model = tiny_model(context.job.seed)
    if not tied:
        head = model.lm_head.weight.detach().clone()
        model.lm_head.weight = torch.nn.Parameter(head)
    engine = initialize(model, training)
    part = context.share(training.batch_size)
    for step in range(training.steps):
        rows = [_row(context.generator(step, row)) for row in range(part.start, part.stop)]
        count = LENGTH * len(rows)
        batch = MicroBatch(NoisedBatch.concatenate(rows), float(count), count)
        optimizer_step(engine, [batch], partial(_loss, mib))
    with full_weights(engine) as whole:
        return {name: value.detach().clone() for name, value in whole.named_parameters()}


def _row(generator: torch.Generator) -> NoisedBatch:
    tokens_BL = torch.randint(MASK, (1, LENGTH), generator=generator)
    return corrupt(tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool), MASK, generator)


def _loss(mib: float, model: torch.nn.Module, batch: NoisedBatch, denominator: float) -> LossOutput:
    return denoising_loss(model, batch, WEIGHTING, denominator, logits_mib=mib)
