"""Noised views of a batch of completions, and scoring them.

Shapes: B completions, Q prompt positions, L completion positions, T = Q + L, W views, N scored
positions of one view, U different rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffucoder.diffusion.corruption import hidden_positions, hide
from diffucoder.diffusion.draws import Draws
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states, token_log_probs
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
    model: nn.Module, batch: CompletionBatch, views: Iterable[View], mask_token_id: int
) -> list[Tensor]:
    """log p of the hidden real tokens in each view, given what the view leaves visible.

    The vocabulary projection runs once, at the scored positions of all views. The rest of the
    model runs once a view, over rows that differ: with everything hidden, all completions of a
    prompt look alike.

    Args:
        model: a bidirectional causal-LM module.
        batch: the completions.
        views: W views.
        mask_token_id: the mask token.

    Returns:
        W times float32 `[B, L]`, 0 at visible positions, at padding and where nothing is asked.
    """
    places, states, targets = [], [], []
    for view in views:
        asked_BL = view.hidden if view.scored is None else view.hidden & view.scored
        where_BL = asked_BL & batch.completion_mask
        places.append(where_BL)
        states.append(_states(model, batch, view, where_BL, mask_token_id))
        targets.append(batch.completion_ids[where_BL])
    scores = token_log_probs(model, torch.cat(states), torch.cat(targets))
    return [
        torch.zeros(where_BL.shape, device=scores.device).masked_scatter(where_BL, scores_N)
        for where_BL, scores_N in zip(
            places, scores.split([len(targets_N) for targets_N in targets]), strict=True
        )
    ]


def _states(
    model: nn.Module, batch: CompletionBatch, view: View, where_BL: Tensor, mask_token_id: int
) -> Tensor:
    """Aligned last hidden states `[N, D]` where `where_BL` is true."""
    prompt_BQ = batch.prompt_ids
    if view.prompt_hidden is not None:
        prompt_BQ = hide(prompt_BQ, view.prompt_hidden, mask_token_id)
    noised_BL = hide(batch.completion_ids, view.hidden, mask_token_id)
    tokens_BT = torch.cat([prompt_BQ, noised_BL], dim=1)
    attended_BT = torch.cat([batch.prompt_mask, batch.context_mask], dim=1)
    kept_U, row_B = _different(torch.stack([tokens_BT, attended_BT.long()], 1))
    attended_UT = attended_BT[kept_U]
    states_UTD = aligned_states(model, tokens_BT[kept_U], attended_UT, position_ids(attended_UT))
    completion_N, place_N = where_BL.nonzero(as_tuple=True)
    return states_UTD[row_B[completion_N], place_N + prompt_BQ.shape[1]]


def _different(rows_BX: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each set of equal rows, in order: `[U]`; and which of these each row equals."""
    _, set_B = rows_BX.unique(dim=0, return_inverse=True)
    first_B = (set_B[:, None] == set_B).int().argmax(1)
    return first_B.unique(return_inverse=True)
