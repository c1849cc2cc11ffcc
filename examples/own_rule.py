"""A decoding rule of your own: strictly from left to right, as an autoregressive model writes.

    PYTHONPATH=examples .venv/bin/kedro chat --rule own_rule.left_to_right

It is named by import path wherever a rule is: `grpo.decoding.rule`, `evaluation.sampled.rule`, ...
"""

from torch import Tensor

from diffucoder.decoding.rules import Budget, Rule, probability


def leftmost(confidence_BL: Tensor, masked_BL: Tensor, budget: Budget) -> Tensor:
    """The positions to reveal: as many as the step's budget, the left-most masks of each row."""
    return masked_BL & (masked_BL.cumsum(1) <= budget.count[:, None])


left_to_right = Rule(
    name="left_to_right",
    confidence=probability,  # not used by `leftmost`; traces record it
    choose=leftmost,
    fixed_count=True,  # exactly the budget's count is revealed, so AR-ness can be measured
)
