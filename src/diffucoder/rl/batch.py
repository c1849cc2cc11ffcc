"""The batch that rollouts hand to the update, its estimators and its objective.

Shapes: B completions, Q positions of a prompt, L positions of a completion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class CompletionBatch:
    """Completions with their prompts: prompts padded on the left, completions on the right.

    Attributes:
        prompt_ids: int64 `[B, Q]`.
        prompt_mask: bool `[B, Q]`, true on real tokens.
        completion_ids: int64 `[B, L]`.
        completion_mask: bool `[B, L]`, true on tokens that are scored: real tokens up to and
            including the end token.
        canvas_mask: bool `[B, L]`, true on canvas positions that the model attended to while
            sampling: the real tokens and, after the end token, the filler that it wrote itself.
            Filler is noised and attended to like any token but never scored. None stands for
            `completion_mask`.
        reveal_step: int64 `[B, L]`, the step at which the sampler revealed each position of the
            canvas, from 0. None where it is not known.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    canvas_mask: Tensor | None = None
    reveal_step: Tensor | None = None

    @property
    def context_mask(self) -> Tensor:
        """Canvas positions that the model may attend to: bool `[B, L]`."""
        return self.completion_mask if self.canvas_mask is None else self.canvas_mask

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def rows(self, chosen: Tensor | slice) -> Self:
        """The chosen rows as a batch of their own.

        Args:
            chosen: Row numbers int64 `[N]`, a mask bool `[B]`, or a slice of rows.
        """
        return self._map(lambda tensor: tensor[chosen])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The batch with a function applied to each tensor that is not None."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(t) for name, t in tensors.items() if t is not None})

    def trimmed(self) -> Self:
        """The batch without the columns that are padding in every prompt."""
        longest = int(self.prompt_mask.sum(1).max())
        start = self.prompt_mask.shape[1] - longest
        return replace(
            self, prompt_ids=self.prompt_ids[:, start:], prompt_mask=self.prompt_mask[:, start:]
        )


@dataclass(frozen=True)
class ScoredBatch:
    """Completions with all that the loss of an update takes beside the policy.

    Attributes:
        batch: B completions.
        weights_B: float32 `[B]`, what each completion counts (`Objective.weights`).
        generators: one per row, which the row's masks are drawn from. They are on the CPU, and
            whoever draws from them takes copies, so that every policy sees the same masks.
        old_BL: float32 `[B, L]`, log-likelihoods under the policy that made the completions, in
            nats. None: that is the policy itself, or nobody reads them.
        ref_BL: float32 `[B, L]`, log-likelihoods under the reference, in nats. None: nobody reads
            them.
    """

    batch: CompletionBatch
    weights_B: Tensor
    generators: Sequence[torch.Generator]
    old_BL: Tensor | None = None
    ref_BL: Tensor | None = None

    def to(self, device: torch.device) -> "ScoredBatch":
        """The batch on another device; the generators stay where they are."""
        return ScoredBatch(
            self.batch.to(device),
            self.weights_B.to(device),
            self.generators,
            None if self.old_BL is None else self.old_BL.to(device),
            None if self.ref_BL is None else self.ref_BL.to(device),
        )

    def rows(self, chosen: Tensor) -> "ScoredBatch":
        """The rows of these numbers as a batch of their own."""
        return ScoredBatch(
            self.batch.rows(chosen),
            self.weights_B[chosen],
            [self.generators[row] for row in chosen.tolist()],
            None if self.old_BL is None else self.old_BL[chosen],
            None if self.ref_BL is None else self.ref_BL[chosen],
        )

    def trimmed(self) -> "ScoredBatch":
        """The batch without columns in which no row has a token of its prompt."""
        return replace(self, batch=self.batch.trimmed())


def complete(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_token_id: int
) -> CompletionBatch:
    """Pad token lists of unequal length into a batch.

    Args:
        prompts: B token lists.
        completions: B token lists, each with its end token.
        pad_token_id: Token id of the padding.
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
    """Make a batch of canvases as the sampler filled them.

    Real tokens run up to and including the first end token; where the model wrote filler
    without an end token before it, the first filler ends the completion.

    Args:
        prompts: B token lists.
        canvas_BL: int64, the canvas after each prompt.
        end_token_id: Token id that ends a completion.
        pad_token_id: Token id of the filler.
        reveal_step_BL: int64, the step at which each position was revealed, from 0.
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
        columns = slice(length - len(row), length) if left else slice(0, len(row))
        ids[index, columns] = torch.tensor(row, dtype=torch.long)
        mask[index, columns] = True
    return ids, mask
