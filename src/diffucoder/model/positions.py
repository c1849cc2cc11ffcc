"""Positions for the rotary embedding, and which tokens can be predicted at all.

Shapes: B rows, L positions.
"""

import torch
from torch import Tensor

from diffucoder.data.packed_row import FILLER


def position_ids(attention_mask_BL: Tensor) -> Tensor:
    """Count real tokens from 0, whatever the padding on the left.

    Args:
        attention_mask_BL: true (or 1) on real tokens.

    Returns:
        int64 `[B, L]`; 0 on padding before the first real token.
    """
    return (attention_mask_BL.long().cumsum(-1) - 1).clamp(min=0)


def packed_position_ids(document_ids_BL: Tensor) -> Tensor:
    """Positions that restart at 0 with each document of a packed row.

    Args:
        document_ids_BL: the document of each position, equal ids side by side, -1 on filler.

    Returns:
        int64 `[B, L]`.
    """
    places_L = torch.arange(document_ids_BL.shape[1], device=document_ids_BL.device)
    begins_BL = ~predictable_mask(document_ids_BL)
    return places_L - (places_L * begins_BL).cummax(-1).values


def predictable_mask(document_ids_BL: Tensor) -> Tensor:
    """Which positions come after another one of the same document: bool `[B, L]`.

    With the shift-by-one a token is predicted at the position before it; the first token of a
    document has none in its own document, so no loss is taken there. Filler follows nothing.
    """
    after_BL = torch.zeros_like(document_ids_BL, dtype=torch.bool)
    after_BL[:, 1:] = document_ids_BL[:, 1:] == document_ids_BL[:, :-1]
    return after_BL & (document_ids_BL != FILLER)
