"""The linear noise schedule: a token survives until time t with probability alpha(t) = 1 - t."""

from torch import Tensor

from diffucoder.diffusion.generators import Generators, uniform

# Below this time the weight 1/t explodes while hardly any token is masked (MDLM, LLaDA: 1e-3).
SMALLEST_TIME = 1e-3


def sample_times(
    rows: int, generator: Generators, low: float = SMALLEST_TIME, high: float = 1.0
) -> Tensor:
    """One time per row, uniform on [low, high): float32 `[rows]` on the generator's device.

    Args:
        rows: number of times.
        generator: one generator, or one per row.
        low: smallest time.
        high: largest time, which is never drawn.
    """
    return low + (high - low) * uniform(rows, 1, generator)[:, 0]


def loss_weight(t_B: Tensor) -> Tensor:
    """-alpha'(t) / (1 - alpha(t)), which is 1/t for the linear schedule."""
    return 1.0 / t_B
