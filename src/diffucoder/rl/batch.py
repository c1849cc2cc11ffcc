"""The record that rollouts hand to estimators.

Shapes: B completions, Q positions of a prompt, L positions of a completion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

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
        reveal_step: int64 `[B, L]`, the step at which the sampler revealed each position of the
            canvas, from 0. None: not known.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    canvas_mask: Tensor | None = None
    reveal_step: Tensor | None = None

    @property
    def context_mask(self) -> Tensor:
        """bool `[B, L]`: canvas positions that the model may look at."""
        return self.completion_mask if self.canvas_mask is None else self.canvas_mask

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name: `CompletionBatch(**batch.tensors)` is a copy."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def to(self, device: torch.device) -> "CompletionBatch":
        """The batch on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return CompletionBatch(**moved)

    def rows(self, chosen: Tensor | slice) -> "CompletionBatch":
        """The chosen rows as a batch of their own."""
        return CompletionBatch(**{name: tensor[chosen] for name, tensor in self.tensors.items()})

    def trimmed(self) -> "CompletionBatch":
        """The batch without columns in which no row has a token of its prompt."""
        longest = int(self.prompt_mask.sum(1).max())
        start = self.prompt_mask.shape[1] - longest
        return replace(
            self, prompt_ids=self.prompt_ids[:, start:], prompt_mask=self.prompt_mask[:, start:]
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
    prompts: Sequence[Sequence[int]],
    canvas_BL: Tensor,
    end_token_id: int,
    pad_token_id: int,
    reveal_step_BL: Tensor | None = None,
) -> CompletionBatch:
    """A batch from what the sampler wrote.

    Real tokens run up to and including the first end token; where the model wrote filler
    without an end token before it, the first filler is what ended the completion.

    Args:
        prompts: B token lists.
        canvas_BL: what was written after each.
        end_token_id: the token that ends a completion.
        pad_token_id: the filler.
        reveal_step_BL: the step at which each position was written.
    """
    prompt_ids_BQ, prompt_mask_BQ = _pad(prompts, pad_token_id, left=True)
    ends_BL = (canvas_BL == end_token_id) | (canvas_BL == pad_token_id)
    real_BL = (ends_BL.cumsum(1) - ends_BL.long()) == 0
    return CompletionBatch(
        prompt_ids_BQ,
        prompt_mask_BQ,
        canvas_BL,
        real_BL,
        torch.ones_like(real_BL),
        reveal_step_BL,
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
