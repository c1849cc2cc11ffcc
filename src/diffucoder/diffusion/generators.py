"""Uniform draws, from one generator for all rows or from one for each.

With one generator per row, a row's draws do not depend on which rows it is batched with; that is
what makes results independent of micro-batches and ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]


def split(generator: Generators, count: int) -> list[Generators]:
    """Make `count` independent generators from one.

    However much one of them draws, the others give the same numbers.

    Args:
        generator: one generator, or one per row.
        count: number of generators to make, for each given one.
    """
    if not isinstance(generator, torch.Generator):
        return [list(parts) for parts in zip(*(split(g, count) for g in generator), strict=True)]
    device = generator.device
    seeds = torch.randint(2**62, (count,), generator=generator, device=device).tolist()
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def uniform(rows: int, length: int, generator: Generators) -> Tensor:
    """Uniform numbers on [0, 1): float32 `[rows, length]` on the generator's device.

    Draws run position by position, so that a longer row begins with the draws of a shorter one.

    Args:
        rows: number of rows.
        length: number of positions.
        generator: one generator, or one per row.

    Raises:
        ValueError: if there are several generators but not one for each row.
    """
    if isinstance(generator, torch.Generator):
        return torch.rand((length, rows), generator=generator, device=generator.device).T
    if len(generator) != rows:
        raise ValueError(f"got {len(generator)} generators for {rows} rows: give one each")
    each = [torch.rand(length, generator=g, device=g.device) for g in generator]
    return torch.stack(each) if each else torch.zeros(0, length)
