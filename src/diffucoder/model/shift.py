"""The shift-by-one convention, in one place.

A model adapted from an autoregressive one goes on predicting token i from the hidden state at
position i - 1. Everything else in the project works with *aligned* outputs, in which index i
speaks about token i; the functions here are the only ones that align.

Shapes: B rows, L positions, D hidden width, V vocabulary.
"""

import torch
from torch import Tensor


def _delay(states_BLX: Tensor) -> Tensor:
    return torch.cat([states_BLX[:, :1], states_BLX[:, :-1]], dim=1)


def aligned_logits(logits_BLV: Tensor) -> Tensor:
    """Move logits so that index i predicts token i.

    Nothing stands before position 0: it keeps its own logits, as in Dream's sampler, and no
    loss should be taken there.

    Args:
        logits_BLV: the stock model's output, in which index i predicts token i + 1.

    Returns:
        Aligned logits, `[B, L, V]`.
    """
    return _delay(logits_BLV)


def aligned_hidden(hidden_BLD: Tensor) -> Tensor:
    """Move last hidden states likewise, so that the head can be applied at chosen positions.

    Args:
        hidden_BLD: last hidden states of the backbone.

    Returns:
        Aligned hidden states, `[B, L, D]`.
    """
    return _delay(hidden_BLD)
