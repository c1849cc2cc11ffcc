"""The linear noise schedule: a token survives until time t with probability alpha(t) = 1 - t."""

import torch
from torch import Tensor

# Below this time the weight 1/t explodes while hardly a token is hidden (MDLM, LLaDA: 1e-3).
SMALLEST_TIME = 1e-3


def sample_times(
    rows: int, generator: torch.Generator, low: float = SMALLEST_TIME, high: float = 1.0
) -> Tensor:
    """One time a row, uniform on [low, high): float32 `[rows]` on the generator's device."""
    uniform = torch.rand(rows, generator=generator, device=generator.device)
    return low + (high - low) * uniform


def loss_weight(t_B: Tensor) -> Tensor:
    """-alpha'(t) / (1 - alpha(t)), which is 1/t for the linear schedule."""
    return 1.0 / t_B
