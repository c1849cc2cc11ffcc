"""Metrics of a step's rollouts."""

from collections.abc import Sequence

import torch

from diffucoder.engine.context import Context
from diffucoder.rl.advantages import zero_variance
from diffucoder.rl.groups import Group, group_rewards


def rollout_metrics(groups: Sequence[Group], context: Context) -> dict[str, float]:
    """Means over the completions of all ranks; every rank calls it.

    Args:
        groups: This rank's groups, at least one.
        context: This rank.

    Returns:
        `reward/total`, `pass_rate` (share that passed all tests), `test_pass_rate` (mean share of
        tests passed), `completion_length` (tokens), `reward/<part>` before its weight, and
        `frac_reward_zero_std` (share of groups whose rewards are all equal).
    """
    completions = [scored for group in groups for scored in group.completions]
    parts = sorted(completions[0].parts)
    rows = [
        [
            scored.reward,
            scored.verdict.status == "passed",
            scored.verdict.pass_rate,
            len(scored.completion.tokens),
            *(scored.parts[part] for part in parts),
            1,
        ]
        for scored in completions
    ]
    names = ["reward/total", "pass_rate", "test_pass_rate", "completion_length"]
    names += [f"reward/{part}" for part in parts]
    sums = context.sums(torch.tensor([[float(value) for value in row] for row in rows]).sum(0))
    equal_P = zero_variance(group_rewards(groups))
    counts = context.sums(torch.tensor([float(equal_P.sum()), float(len(equal_P))]))
    means = dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))
    return means | {"frac_reward_zero_std": float(counts[0] / counts[1])}
