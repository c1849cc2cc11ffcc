"""Scoring one noised view of a batch of completions.

Shapes: B completions, Q prompt positions, L completion positions.
"""

import torch
from torch import Tensor, nn

from diffucoder.diffusion.corruption import hide
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import token_log_probs
from diffucoder.rl.rollouts import CompletionBatch


def view_log_probs(
    model: nn.Module, batch: CompletionBatch, hidden_BL: Tensor, mask_token_id: int
) -> Tensor:
    """log p of the hidden real tokens, given the prompt and what is left visible.

    The prompt is never hidden; the vocabulary projection runs at the scored positions alone.

    Args:
        model: a bidirectional causal-LM module.
        batch: the completions.
        hidden_BL: bool, canvas positions shown to the model as the mask token.
        mask_token_id: the mask token.

    Returns:
        float32 `[B, L]`, 0 at visible positions and at padding.
    """
    noised_BL = hide(batch.completion_ids, hidden_BL, mask_token_id)
    tokens_BT = torch.cat([batch.prompt_ids, noised_BL], dim=1)
    targets_BT = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)
    attended_BT = torch.cat([batch.prompt_mask, batch.context_mask], dim=1)
    scored_BL = hidden_BL & batch.completion_mask
    where_BT = torch.cat([torch.zeros_like(batch.prompt_mask), scored_BL], dim=1)
    scores_BT = token_log_probs(
        model, tokens_BT, targets_BT, where_BT, attended_BT, position_ids(attended_BT)
    )
    return scores_BT[:, batch.prompt_ids.shape[1] :]
