"""Replacing tokens by the mask token.

Shapes: B rows, L positions.
"""

from torch import Tensor

from diffucoder.diffusion.generators import Generators, uniform


def sample_mask(maskable_BL: Tensor, t_B: Tensor, generator: Generators) -> Tensor:
    """Choose each maskable position independently with its row's probability t.

    Args:
        maskable_BL: bool, positions that may be masked.
        t_B: a probability for each row, in [0, 1].
        generator: one generator, or one per row.

    Returns:
        bool `[B, L]`, a subset of `maskable_BL`.
    """
    rows, length = maskable_BL.shape
    uniform_BL = uniform(rows, length, generator).to(maskable_BL.device)
    return maskable_BL & (uniform_BL < t_B[:, None])


def coupled_masks(maskable_BL: Tensor, t_B: Tensor, generator: Generators) -> tuple[Tensor, Tensor]:
    """Two complementary masks: each maskable position is masked in exactly one of them.

    The pair of coupled-GRPO (arXiv 2506.20639, section 4): the first view is noised to time t,
    the second to 1 - t, and together they score every token once.

    Args:
        maskable_BL: bool, positions to cover.
        t_B: probability for each row that a position is masked in the first view.
        generator: one generator, or one per row.

    Returns:
        `(masked_BL, complement_BL)`: disjoint, and together exactly `maskable_BL`.
    """
    masked_BL = sample_mask(maskable_BL, t_B, generator)
    return masked_BL, maskable_BL & ~masked_BL


def mask_tokens(tokens_BL: Tensor, masked_BL: Tensor, mask_token_id: int) -> Tensor:
    """The tokens with the mask token wherever `masked_BL` is true: int64 `[B, L]`.

    Args:
        tokens_BL: clean tokens.
        masked_BL: bool, positions to mask.
        mask_token_id: id of the mask token.
    """
    return tokens_BL.masked_fill(masked_BL, mask_token_id)
