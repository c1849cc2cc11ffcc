"""The record that rollouts hand to estimators.

Shapes: B completions, Q positions of a prompt, L positions of a completion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CompletionBatch:
    """Completions with their prompts: prompts padded on the left, completions on the right.

    Attributes:
        prompt_ids: int64 `[B, Q]`.
        prompt_mask: bool `[B, Q]`, true on real tokens.
        completion_ids: int64 `[B, L]`.
        completion_mask: bool `[B, L]`, true on real tokens up to and including the end token.
        canvas_mask: bool `[B, L]`, what the model saw of the canvas while sampling: the real
            tokens and, after the end token, the filler that it wrote itself. Filler is noised
            and attended to like any token but never scored. None: the completion alone.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    canvas_mask: Tensor | None = None

    @property
    def context_mask(self) -> Tensor:
        """bool `[B, L]`: canvas positions that the model may look at."""
        return self.completion_mask if self.canvas_mask is None else self.canvas_mask

    def to(self, device: torch.device) -> "CompletionBatch":
        """The batch on another device."""
        tensors = (self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask)
        canvas = None if self.canvas_mask is None else self.canvas_mask.to(device)
        return CompletionBatch(*(tensor.to(device) for tensor in tensors), canvas)

    def rows(self, chosen: Tensor | slice) -> "CompletionBatch":
        """The chosen rows as a batch of their own."""
        return CompletionBatch(
            self.prompt_ids[chosen],
            self.prompt_mask[chosen],
            self.completion_ids[chosen],
            self.completion_mask[chosen],
            None if self.canvas_mask is None else self.canvas_mask[chosen],
        )


def complete(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_token_id: int
) -> CompletionBatch:
    """Pad token lists of unequal length into a batch.

    Args:
        prompts: B token lists.
        completions: B token lists, each with its end token.
        pad_token_id: what fills the gaps.
    """
    return CompletionBatch(
        *_pad(prompts, pad_token_id, left=True), *_pad(completions, pad_token_id, left=False)
    )


def from_canvas(
    prompts: Sequence[Sequence[int]], canvas_BL: Tensor, end_token_id: int, pad_token_id: int
) -> CompletionBatch:
    """A batch from what the sampler wrote.

    Real tokens run up to and including the first end token; where the model wrote filler
    without an end token before it, the first filler is what ended the completion.

    Args:
        prompts: B token lists.
        canvas_BL: what was written after each.
        end_token_id: the token that ends a completion.
        pad_token_id: the filler.
    """
    prompt_ids_BQ, prompt_mask_BQ = _pad(prompts, pad_token_id, left=True)
    ends_BL = (canvas_BL == end_token_id) | (canvas_BL == pad_token_id)
    real_BL = (ends_BL.cumsum(1) - ends_BL.long()) == 0
    return CompletionBatch(
        prompt_ids_BQ, prompt_mask_BQ, canvas_BL, real_BL, torch.ones_like(real_BL)
    )


def _pad(rows: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[Tensor, Tensor]:
    length = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), length), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.bool)
    for index, row in enumerate(rows):
        place = slice(length - len(row), length) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.long)
        mask[index, place] = True
    return ids, mask
