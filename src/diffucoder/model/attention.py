"""Attention masks over packed rows.

A mask is bool `[B, 1, L, L]`, true where the row position may look at the column position.
Documents packed into one row never see each other. A filler position (document id -1) sees
itself alone, because a softmax over nothing is NaN.

Shapes: B rows, L positions.
"""

import torch
from torch import Tensor

from diffucoder.data.packed_row import FILLER


def anneal_ratio(step: int, anneal_steps: int) -> float:
    """Share rho of future positions open at a step: min(1, (step + 1) / anneal_steps).

    Args:
        step: optimizer steps done so far.
        anneal_steps: steps from causal to bidirectional attention; 0 is bidirectional at once.
    """
    return 1.0 if anneal_steps == 0 else min(1.0, (step + 1) / anneal_steps)


def sample_future_mask(length: int, rho: float, generator: torch.Generator) -> Tensor:
    """One Bernoulli(rho) draw for each pair of positions, shared by a batch: bool `[L, L]`.

    Args:
        length: L.
        rho: share of the future that is open, in [0, 1]; 0 is causal, 1 bidirectional.
        generator: where the draw comes from; the result lies on its device.
    """
    uniform_LL = torch.rand(length, length, generator=generator, device=generator.device)
    return uniform_LL < rho


def document_mask(document_ids_BL: Tensor) -> Tensor:
    """Bidirectional attention within each document: bool `[B, 1, L, L]`."""
    length = document_ids_BL.shape[1]
    same_BLL = document_ids_BL[:, :, None] == document_ids_BL[:, None, :]
    real_BL1 = (document_ids_BL != FILLER)[:, :, None]
    itself_LL = torch.eye(length, dtype=torch.bool, device=document_ids_BL.device)
    return ((same_BLL & real_BL1) | itself_LL)[:, None]


def causal_mask(document_ids_BL: Tensor) -> Tensor:
    """Causal attention within each document: bool `[B, 1, L, L]`."""
    return document_mask(document_ids_BL).tril()


def annealed_mask(document_ids_BL: Tensor, revealed_LL: Tensor) -> Tensor:
    """Causal attention within each document, opened further where `revealed_LL` is true.

    With `sample_future_mask` it is attention on its way from causal to bidirectional:
    allowed(i, j) = same document and (j <= i or Bernoulli(rho)) (DiffuLLaMA, arXiv 2410.17891,
    attention mask annealing).

    Args:
        document_ids_BL: the document of each position, -1 on filler.
        revealed_LL: bool, pairs of positions that are open whatever their order.

    Returns:
        bool `[B, 1, L, L]`.
    """
    return document_mask(document_ids_BL) & (revealed_LL | torch.ones_like(revealed_LL).tril())
