"""What may be masked in a packed row, and the rare rows that are cut or keep a clean prefix.

Both exceptions are DiffuLLaMA's and LLaDA's: without them the model would only ever see full
rows that are noised throughout, and never a short text or a clean prompt.

Shapes: B rows, L positions.
"""

import torch
from torch import Tensor

from diffucoder.data.packed_row import FILLER
from diffucoder.diffusion.denoising import NoisedBatch, corrupt
from diffucoder.model.positions import predictable_mask
from diffucoder.training.packed import PackedTokens


def adaptation_row(
    row: PackedTokens,
    truncated_share: float,
    prefix_share: float,
    mask_token_id: int,
    generator: torch.Generator,
) -> NoisedBatch:
    """Noise one row.

    Args:
        row: clean tokens `[L]` and their documents.
        truncated_share: probability that the row is cut at a random length.
        prefix_share: probability that a random prefix stays free of noise.
        mask_token_id: id of the mask token.
        generator: where this row's draws come from.

    Returns:
        A batch of this one row, whose `document_ids` are -1 on what was cut off.
    """
    document_ids_L = truncated(row.document_ids, truncated_share, generator)
    maskable_BL = predictable_mask(document_ids_L[None])
    maskable_BL[:, : clean_prefix(len(document_ids_L), prefix_share, generator)] = False
    return corrupt(row.input_ids[None], maskable_BL, mask_token_id, generator, document_ids_L[None])


def truncated(document_ids_L: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """With probability `share`, keep a length uniform on 1 to L and turn the rest to filler.

    Args:
        document_ids_L: the document of each position.
        share: probability that the row is cut.
        generator: where the row's draws come from.
    """
    keep = _length_or(len(document_ids_L), share, len(document_ids_L), generator)
    return torch.where(torch.arange(len(document_ids_L)) < keep, document_ids_L, FILLER)


def clean_prefix(length: int, share: float, generator: torch.Generator) -> int:
    """With probability `share` a prefix length uniform on 0 to L - 1, otherwise 0.

    Args:
        length: L, tokens of the row.
        share: probability of a prefix.
        generator: where the row's draws come from.
    """
    return _length_or(length, share, 1, generator) - 1


def _length_or(length: int, share: float, otherwise: int, generator: torch.Generator) -> int:
    # Both numbers are drawn whatever the first says, so that later draws of the row do not
    # move when a share is changed.
    chosen, place = torch.rand(2, generator=generator).tolist()
    return 1 + int(place * length) if chosen < share else otherwise
