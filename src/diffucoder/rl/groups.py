"""Groups of scored completions: the record that travels from sampling to the update.

Shapes: P prompts, G completions per prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffucoder.decoding import Completion
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Verdict


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion with its verdict and its reward.

    Attributes:
        completion: The sampler's record: tokens, canvas, reveal order and, on request, a trace.
        text: The answer as text, the task's prefix hint included.
        verdict: What the sandbox found when it ran the answer's code.
        reward: Sum of the rewards by their weights.
        parts: Each reward by name, before its weight.
    """

    completion: Completion
    text: str
    verdict: Verdict
    reward: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Group:
    """The completions of one task, which are compared with each other.

    Attributes:
        task: The task.
        completions: G scored completions.
    """

    task: Task
    completions: list[ScoredCompletion]


def group_rewards(groups: Sequence[Group]) -> Tensor:
    """Rewards of all completions: float32 `[P, G]`.

    Args:
        groups: P groups of equal size G.
    """
    return torch.tensor([[each.reward for each in group.completions] for group in groups])
