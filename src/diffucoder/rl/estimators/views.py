"""Noised views of a batch of completions, and scoring them.

Shapes: B completions, Q prompt positions, L completion positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffucoder.diffusion.corruption import hidden_positions, hide
from diffucoder.diffusion.draws import Draws
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import token_log_probs
from diffucoder.rl.rollouts import CompletionBatch


@dataclass(frozen=True)
class View:
    """One noised copy of the completions; scoring it costs one forward pass.

    Attributes:
        hidden: bool `[B, L]`, canvas positions shown to the model as the mask token.
        probability: `[B]`, the chance that a position had of being hidden, which divides its score;
            None divides by nothing.
        scored: bool `[B, L]`, which of the hidden positions to score; None scores all.
        prompt_hidden: bool `[B, Q]`, prompt positions shown as the mask token; None shows all.
    """

    hidden: Tensor
    probability: Tensor | None = None
    scored: Tensor | None = None
    prompt_hidden: Tensor | None = None


def random_view(batch: CompletionBatch, t_B: Tensor, source: Draws) -> View:
    """Each canvas position hidden with its row's probability t, independently."""
    t_B = t_B.to(batch.completion_ids.device)
    return View(hidden_positions(batch.context_mask, t_B, source), t_B)


def view_log_probs(
    model: nn.Module,
    batch: CompletionBatch,
    hidden_BL: Tensor,
    mask_token_id: int,
    scored_BL: Tensor | None = None,
    prompt_hidden_BQ: Tensor | None = None,
) -> Tensor:
    """log p of the hidden real tokens, given what is left visible.

    The vocabulary projection runs at the scored positions alone.

    Args:
        model: a bidirectional causal-LM module.
        batch: the completions.
        hidden_BL: see `View`.
        mask_token_id: the mask token.
        scored_BL: see `View`.
        prompt_hidden_BQ: see `View`.

    Returns:
        float32 `[B, L]`, 0 at visible positions, at padding and where nothing is asked.
    """
    noised_BL = hide(batch.completion_ids, hidden_BL, mask_token_id)
    prompt_BQ = batch.prompt_ids
    if prompt_hidden_BQ is not None:
        prompt_BQ = hide(prompt_BQ, prompt_hidden_BQ, mask_token_id)
    tokens_BT = torch.cat([prompt_BQ, noised_BL], dim=1)
    targets_BT = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)
    attended_BT = torch.cat([batch.prompt_mask, batch.context_mask], dim=1)
    asked_BL = hidden_BL if scored_BL is None else hidden_BL & scored_BL
    where_BT = torch.cat(
        [torch.zeros_like(batch.prompt_mask), asked_BL & batch.completion_mask], dim=1
    )
    scores_BT = token_log_probs(
        model, tokens_BT, targets_BT, where_BT, attended_BT, position_ids(attended_BT)
    )
    return scores_BT[:, batch.prompt_ids.shape[1] :]
