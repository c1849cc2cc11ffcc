"""A decoding rule of the user's own: from left to right, as an autoregressive model writes."""

from torch import Tensor

from diffucoder.decoding.rules import Budget, Rule, bernoulli, probability, random_score


def leftmost(confidence_BL: Tensor, masked_BL: Tensor, budget: Budget) -> Tensor:
    """The first masked positions, as many as the budget's count."""
    return masked_BL & (masked_BL.cumsum(1) <= budget.count[:, None])


left_to_right = Rule(
    name="left_to_right", confidence=probability, choose=leftmost, fixed_count=True
)
coin = Rule(name="coin", confidence=random_score, choose=bernoulli, draws=True)
