"""How good an estimator is: bias and variance of log-likelihoods, noise of gradients.

Pure functions over draws; comparisons are fair at equal numbers of forward passes.

Shapes: K draws, B completions, L completion positions, N parameters.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.diffusion.generators import Generators, split
from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator


@dataclass(frozen=True)
class Noise:
    """How an estimate misses its reference, for each completion.

    Attributes:
        bias: mean of the estimate less the reference, nats: float64 `[B]`.
        variance: unbiased variance of the estimate, nats squared: float64 `[B]`.
        squared_error: mean squared difference from the reference, nats squared: float64 `[B]`.
    """

    bias: Tensor
    variance: Tensor
    squared_error: Tensor


def estimates(
    estimator: Estimator,
    model: PreTrainedModel,
    batch: CompletionBatch,
    generator: Generators,
    count: int,
    forwards: int,
) -> Tensor:
    """Independent estimates, each the mean of as many calls as a budget pays for.

    Args:
        estimator: the estimator.
        model: a bidirectional causal-LM module.
        batch: B completions.
        generator: one generator, or one per row.
        count: K.
        forwards: forward passes that one estimate may cost.

    Returns:
        float64 `[K, B, L]`.

    Raises:
        BadParameters: if the budget does not pay for a single call.
    """
    calls = forwards // estimator.forwards
    if calls < 1:
        raise BadParameters(
            f"a budget of {forwards} forward passes does not pay for one call of "
            f"{type(estimator).__name__}, which costs {estimator.forwards}: raise it"
        )
    drawn = []
    with torch.no_grad():
        for own in split(generator, count * calls):
            drawn.append(estimator.log_likelihood(model, batch, own).double())
    return torch.stack(drawn).unflatten(0, (count, calls)).mean(1)


def token_noise(estimates_KBL: Tensor, reference_BL: Tensor, mask_BL: Tensor) -> Noise:
    """Bias and variance of single tokens' estimates, averaged over each completion's tokens.

    Args:
        estimates_KBL: K >= 2 independent estimates.
        reference_BL: what they should be.
        mask_BL: bool, real tokens; every completion has one.

    Raises:
        ValueError: for fewer than 2 draws, which have no variance.
    """
    bias_BL, variance_BL, error_BL = _moments(estimates_KBL, reference_BL)
    share_BL = mask_BL / mask_BL.sum(1, keepdim=True)
    return Noise(*((values * share_BL).sum(1) for values in (bias_BL, variance_BL, error_BL)))


def sequence_noise(estimates_KBL: Tensor, reference_BL: Tensor, mask_BL: Tensor) -> Noise:
    """Bias and variance of each completion's estimate, the sum over its real tokens.

    Args:
        estimates_KBL: K >= 2 independent estimates.
        reference_BL: what they should be.
        mask_BL: bool, real tokens.

    Raises:
        ValueError: for fewer than 2 draws, which have no variance.
    """
    return Noise(*_moments((estimates_KBL * mask_BL).sum(2), (reference_BL * mask_BL).sum(1)))


@dataclass(frozen=True)
class GradientNoise:
    """How gradients from single draws differ from a reference gradient.

    Attributes:
        variance: unbiased variance of the draws, summed over the parameters (the trace of their
            covariance).
        relative_variance: `variance` over the squared norm of the draws' mean gradient.
        cosine: cosine of each draw and the reference: float64 `[K]`.
    """

    variance: float
    relative_variance: float
    cosine: Tensor


def gradient_noise(gradients_KN: Tensor, reference_N: Tensor) -> GradientNoise:
    """Variance of gradient estimates, and their cosines to a reference gradient.

    Args:
        gradients_KN: K >= 2 gradients from independent draws.
        reference_N: the gradient of many draws.

    Raises:
        ValueError: for fewer than 2 draws, or a reference of norm 0.
    """
    if len(gradients_KN) < 2:
        raise ValueError(f"the variance needs at least 2 draws, got {len(gradients_KN)}")
    gradients_KN, reference_N = gradients_KN.double(), reference_N.double()
    if not reference_N.any():
        raise ValueError("the reference gradient is 0 and has no direction")
    variance = gradients_KN.var(0).sum().item()
    norms_K = gradients_KN.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    cosine_K = gradients_KN @ reference_N / (norms_K * reference_N.norm())
    return GradientNoise(variance, variance / gradients_KN.mean(0).square().sum().item(), cosine_K)


def flat_gradient(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """The gradient of a loss as one vector: `[N]`; parameters that it does not reach count 0."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    parts = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(wanted, found, strict=True)
    ]
    return torch.cat([part.flatten() for part in parts])


def _moments(estimates_K: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if len(estimates_K) < 2:
        raise ValueError(f"the variance needs at least 2 draws, got {len(estimates_K)}")
    estimates_K, reference = estimates_K.double(), reference.double()
    error = (estimates_K - reference).square().mean(0)
    return estimates_K.mean(0) - reference, estimates_K.var(0), error
