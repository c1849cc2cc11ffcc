"""Advantages from the rewards of a group of completions.

Shapes: P prompts, G completions per prompt.
"""

import torch
from torch import Tensor

# Added to the standard deviation, as in TRL and DeepSeekMath's descendants.
STD_FLOOR = 1e-4


def leave_one_out(rewards_PG: Tensor) -> Tensor:
    """Each reward minus the mean of the other rewards of its group (RLOO).

    A_g = r_g - (1 / (G - 1)) * sum over h != g of r_h; equals G / (G - 1) times the deviation
    from the group mean (arXiv 2506.20639, section 4).

    Args:
        rewards_PG: Rewards, G >= 2.

    Returns:
        Advantages `[P, G]`; each row sums to 0, and is exactly 0 where all rewards are equal.

    Raises:
        ValueError: If a group has a single completion, which leaves nothing to compare with.
    """
    group = _group_size(rewards_PG, "leave-one-out")
    # A shift changes no advantage; this one makes those of equal rewards exactly 0, which
    # rounding in a mean of thirds would not.
    shifted_PG = rewards_PG - rewards_PG[:, :1]
    others_PG = (shifted_PG.sum(1, keepdim=True) - shifted_PG) / (group - 1)
    return shifted_PG - others_PG


def group_mean(rewards_PG: Tensor) -> Tensor:
    """Each reward minus the mean of its group: A_g = r_g - mean(r) (GRPO, arXiv 2402.03300).

    Args:
        rewards_PG: Rewards, G >= 2.

    Returns:
        Advantages `[P, G]`; each row sums to 0, and is exactly 0 where all rewards are equal.

    Raises:
        ValueError: If a group has a single completion, which leaves nothing to compare with.
    """
    _group_size(rewards_PG, "the group mean")
    shifted_PG = rewards_PG - rewards_PG[:, :1]
    return shifted_PG - shifted_PG.mean(1, keepdim=True)


BASELINES = {"leave_one_out": leave_one_out, "group_mean": group_mean}


def advantages(rewards_PG: Tensor, baseline: str, scale_rewards: bool) -> Tensor:
    """Advantages of all groups; exactly 0 in groups whose rewards are all equal.

    Args:
        rewards_PG: Rewards, G >= 2.
        baseline: Name of the baseline, a key of `BASELINES`.
        scale_rewards: Whether to divide by the group's standard deviation (over G - 1, plus
            1e-4), as GRPO does. Dr. GRPO (arXiv 2503.20783) shows that this favours problems
            that are nearly always or hardly ever solved.

    Returns:
        Advantages `[P, G]`.
    """
    advantages_PG = BASELINES[baseline](rewards_PG)
    if scale_rewards:
        advantages_PG = advantages_PG / (rewards_PG.std(1, keepdim=True) + STD_FLOOR)
    # Exactly 0 where all rewards are equal, whatever rounding left.
    return advantages_PG.masked_fill(zero_variance(rewards_PG)[:, None], 0.0)


def zero_variance(rewards_PG: Tensor) -> Tensor:
    """Which groups have equal rewards throughout and so no gradient: bool `[P]`."""
    return torch.isclose(rewards_PG.amax(1), rewards_PG.amin(1))


def _group_size(rewards_PG: Tensor, baseline: str) -> int:
    group = rewards_PG.shape[1]
    if group < 2:
        raise ValueError(f"{baseline} needs at least 2 completions a prompt, got {group}")
    return group
