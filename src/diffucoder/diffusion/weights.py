"""Weights of the masked positions in the diffusion loss.

Shapes: B rows, L positions.
"""

import torch
from torch import Tensor

from diffucoder.diffusion.schedule import loss_weight


def inverse_time(masked_BL: Tensor, t_B: Tensor) -> Tensor:
    """1/t on masked positions, 0 elsewhere: the negative evidence lower bound (LLaDA, MDLM).

    Args:
        masked_BL: bool, masked positions.
        t_B: time of each row.
    """
    return loss_weight(t_B)[:, None] * masked_BL


def cart(masked_BL: Tensor, document_ids_BL: Tensor, p: float) -> Tensor:
    """Context-adaptive weights of Dream: a masked position near visible tokens counts more.

    The weight of masked i is sum over visible j of 0.5 * p * (1 - p)^(|i - j| - 1), over the
    positions of its own document. It takes the place of 1/t.

    Args:
        masked_BL: bool, positions that are masked.
        document_ids_BL: the document each position belongs to.
        p: parameter of the geometric distribution, in (0, 1); Dream uses 0.1.

    Returns:
        float32 `[B, L]`, 0 on visible positions.
    """
    length = masked_BL.shape[1]
    places_L = torch.arange(length, device=masked_BL.device)
    distance_LL = (places_L[:, None] - places_L[None, :]).abs()
    kernel_LL = 0.5 * p * (1 - p) ** (distance_LL - 1).clamp(min=0).float()
    same_BLL = document_ids_BL[:, :, None] == document_ids_BL[:, None, :]
    visible_B1L = (~masked_BL)[:, None, :]
    weights_BL = (kernel_LL * (same_BLL & visible_B1L)).sum(-1)
    return weights_BL * masked_BL
