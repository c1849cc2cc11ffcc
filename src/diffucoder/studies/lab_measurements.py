"""What the lab measures of one estimator.

Shapes: B completions, L completion positions, K draws, N parameters.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.lab import LabParams
from diffucoder.config.labels import reported_name
from diffucoder.engine.context import Context
from diffucoder.rl import estimators
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.diagnostics import (
    Noise,
    estimates,
    flat_gradient,
    gradient_noise,
    sequence_noise,
    token_noise,
)
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import StratifiedTOptions

# Namespaces of draws.
DRAWS, REFERENCE, GRADIENT, GRADIENT_REFERENCE = range(4)
BYTES_PER_MIB = 2**20
Row = dict[str, Any]


def make_estimators(lab: LabParams, mask_token_id: int) -> dict[str, Estimator]:
    """The estimators that the parameters name, by the name under which they are reported.

    Args:
        lab: The lab's parameters.
        mask_token_id: Token of masked positions.
    """
    return {
        reported_name(label): estimators.make(
            options, mask_token_id=mask_token_id, steps=lab.decoding.steps
        )
        for label, options in lab.estimators.items()
    }


def reference_of(
    context: Context, model: PreTrainedModel, batch: CompletionBatch, mask_token_id: int, draws: int
) -> Tensor:
    """The ELBO's terms from many draws, stratified over the times.

    Every rank repeats it with the same draws.

    Args:
        context: This rank.
        model: The diffusion model.
        batch: The completions.
        mask_token_id: Token of masked positions.
        draws: Number of draws.

    Returns:
        The terms, float64 `[B, L]`.
    """
    estimator = estimators.make(StratifiedTOptions(draws=draws), mask_token_id)
    with torch.no_grad():
        return estimator.log_likelihood(model, batch, context.generator(REFERENCE)).double()


def noise_rows(
    context: Context,
    estimator: Estimator,
    label: str,
    model: PreTrainedModel,
    batch: CompletionBatch,
    reference_BL: Tensor,
    lab: LabParams,
) -> Iterator[Row]:
    """Measure the noise of log-likelihoods.

    Args:
        context: This rank.
        estimator: The estimator to measure.
        label: The name under which it is reported.
        model: The diffusion model.
        batch: The completions.
        reference_BL: The reference to hold the estimates against, float64 `[B, L]`.
        lab: The lab's parameters.

    Yields:
        One row for each budget, level, measure and completion.
    """
    for forwards in lab.forwards:
        if forwards < estimator.forwards:
            continue
        # Equal draws for all estimators: their differences are less noisy.
        generator = context.generator(DRAWS, forwards)
        drawn_KBL = estimates(estimator, model, batch, generator, lab.draws, forwards)
        for level, measured in (("token", token_noise), ("sequence", sequence_noise)):
            noise: Noise = measured(drawn_KBL, reference_BL, batch.completion_mask)
            for measure in ("bias", "variance", "squared_error"):
                values = getattr(noise, measure).tolist()
                yield from (
                    _row(label, estimator, forwards, level, measure, unit, value)
                    for unit, value in enumerate(values)
                )


def gradient_rows(
    context: Context,
    estimator: Estimator,
    label: str,
    model: PreTrainedModel,
    batch: CompletionBatch,
    reference_N: Tensor,
    lab: LabParams,
) -> Iterator[Row]:
    """Measure the noise of policy gradients.

    The draws are those of single calls; the budget of the rows is what one costs.

    Args:
        context: This rank.
        estimator: The estimator to measure.
        label: The name under which it is reported.
        model: The diffusion model.
        batch: The completions.
        reference_N: The reference gradient, `[N]` on the CPU.
        lab: The lab's parameters.

    Yields:
        One row for the cosine of each draw to the reference, and one for the variance relative to
        it.
    """
    gradients_KN = torch.stack(
        [
            policy_gradient(estimator, model, batch, context.generator(GRADIENT, draw))
            for draw in range(lab.gradient_draws)
        ]
    )
    noise = gradient_noise(gradients_KN, reference_N)
    spent = estimator.forwards
    for draw, cosine in enumerate(noise.cosine.tolist()):
        yield _row(label, estimator, spent, "gradient", "cosine", draw, cosine)
    variance = noise.relative_variance
    yield _row(label, estimator, spent, "gradient", "relative_variance", 0, variance)


def policy_gradient(
    estimator: Estimator, model: PreTrainedModel, batch: CompletionBatch, generator: torch.Generator
) -> Tensor:
    """The policy gradient with advantages 1 and -1 in turn, over real tokens.

    Which completions are good is made up; the noise of the estimate is not.

    Args:
        estimator: The estimator of the log-likelihoods.
        model: The diffusion model.
        batch: The completions.
        generator: Random generator of the estimate.

    Returns:
        The gradient of all parameters, float32 `[N]` on the CPU.
    """
    signs_B = 1.0 - 2.0 * (torch.arange(len(batch.completion_ids)) % 2)
    weights_BL = signs_B[:, None].to(batch.completion_mask.device) * batch.completion_mask
    scores_BL = estimator.log_likelihood(model, batch, generator)
    loss = -(weights_BL * scores_BL).sum() / batch.completion_mask.sum()
    return flat_gradient(loss, model.parameters()).float().cpu()


def gradient_reference(
    context: Context, model: PreTrainedModel, batch: CompletionBatch, mask_token_id: int, draws: int
) -> Tensor:
    """The policy gradient of the ELBO from many draws, a few at a time.

    Args:
        context: This rank.
        model: The diffusion model.
        batch: The completions.
        mask_token_id: Token of masked positions.
        draws: Number of draws.

    Returns:
        The gradient of all parameters, float32 `[N]` on the CPU.
    """
    few = 8
    estimator = estimators.make(StratifiedTOptions(draws=few), mask_token_id)
    rounds = max(1, draws // few)
    total_N = policy_gradient(estimator, model, batch, context.generator(GRADIENT_REFERENCE, 0))
    for index in range(1, rounds):
        generator = context.generator(GRADIENT_REFERENCE, index)
        total_N += policy_gradient(estimator, model, batch, generator)
    return total_N / rounds


def cost_row(
    estimator: Estimator, label: str, model: PreTrainedModel, batch: CompletionBatch
) -> Row:
    """Measure one call with its backward pass.

    Args:
        estimator: The estimator to measure.
        label: The name under which it is reported.
        model: The diffusion model.
        batch: The completions.

    Returns:
        A row of `EstimatorCost`: seconds, and MiB that the call keeps for its backward pass.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # The first call of a shape is slow for reasons of its own.
    for _ in range(2):
        kept.clear()
        began = time.monotonic()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            policy_gradient(estimator, model, batch, torch.Generator().manual_seed(0))
        seconds = time.monotonic() - began
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    activations = sum(size for pointer, size in kept.items() if pointer not in weights)
    return {
        "estimator": label,
        "forwards": estimator.forwards,
        "completions": len(batch.completion_ids),
        "seconds": seconds,
        "activations_mb": activations / BYTES_PER_MIB,
    }


def _row(
    label: str,
    estimator: Estimator,
    forwards: int,
    level: str,
    measure: str,
    unit: int,
    value: float,
) -> Row:
    return {
        "estimator": label,
        "forwards_per_call": estimator.forwards,
        "forwards": forwards,
        "level": level,
        "measure": measure,
        "unit": unit,
        "value": value,
    }
