"""Trains the tiny model once for each ZeRO stage and writes the weights and metrics."""

import torch
from tiny_stage import loss, prepare, rows_between, tiny_model

from diffucoder.config.training import TrainingParams
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import optimizer_step
from diffucoder.engine.zero import full_weights, initialize


def work(job: Job, context: Context) -> None:
    base = TrainingParams.model_validate(job.parameters["training"])
    results = {}
    for stage in job.parameters["stages"]:
        settings = base.engine.model_copy(update={"zero_stage": stage})
        training = base.model_copy(update={"engine": settings})
        results[stage] = train(training, context)
    if context.rank == 0:
        torch.save(results, job.output)


def train(
    training: TrainingParams, context: Context
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Weights and metrics after `training.steps`, from this rank's share of the rows."""
    engine = initialize(tiny_model(context.job.seed), training)
    part, width = context.share(training.batch_size), training.engine.micro_batch
    records = []
    for step in range(training.steps):
        first = step * training.batch_size
        prepared = []
        for at in range(first + part.start, first + part.stop, width):
            numbers = range(at, min(at + width, first + part.stop))
            generators = [context.generator(step, number) for number in numbers]
            prepared.append(prepare(rows_between(numbers.start, numbers.stop), step, generators))
        records.append(optimizer_step(engine, prepared, loss))
    with full_weights(engine) as model:
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    return weights, records
