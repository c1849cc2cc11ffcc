"""Advantages from the rewards of a group of completions.

Shapes: P prompts, G completions a prompt.
"""

import torch
from torch import Tensor


def leave_one_out(rewards_PG: Tensor) -> Tensor:
    """Each reward less the mean of the other rewards of its group.

    A_g = r_g - (1 / (G - 1)) * sum over h != g of r_h; equals G / (G - 1) times the deviation
    from the group mean (arXiv 2506.20639, section 4).

    Args:
        rewards_PG: rewards, G >= 2.

    Returns:
        Advantages `[P, G]`; each row sums to 0, and is exactly 0 where all rewards are equal.

    Raises:
        ValueError: if a group has a single completion, which leaves nothing to compare with.
    """
    group = rewards_PG.shape[1]
    if group < 2:
        raise ValueError(f"leave-one-out needs at least 2 completions a prompt, got {group}")
    # A shift changes no advantage; this one makes those of equal rewards exactly 0, which
    # rounding in a mean of thirds would not.
    shifted_PG = rewards_PG - rewards_PG[:, :1]
    others_PG = (shifted_PG.sum(1, keepdim=True) - shifted_PG) / (group - 1)
    return shifted_PG - others_PG


def zero_variance(rewards_PG: Tensor) -> Tensor:
    """Which groups have one reward throughout and so teach nothing: bool `[P]`."""
    return torch.isclose(rewards_PG.amax(1), rewards_PG.amin(1))
