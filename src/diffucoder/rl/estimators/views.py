"""Noised views of a batch of completions, and scoring them.

Shapes: B completions, Q prompt positions, L completion positions, T = Q + L, N scored positions,
U different rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.engine import LOGITS_MIB
from diffucoder.diffusion.corruption import mask_tokens, sample_mask
from diffucoder.diffusion.generators import Generators
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states, token_log_probs
from diffucoder.rl.batch import CompletionBatch


@dataclass(frozen=True)
class View:
    """One noised copy of the completions; scoring it costs one forward pass.

    Attributes:
        masked: bool `[B, L]`, canvas positions shown to the model as the mask token.
        probability: `[B]`, the chance that a position had of being masked, which divides its score;
            None divides by nothing.
        scored: bool `[B, L]`, which of the masked positions to score; None scores all.
        prompt_masked: bool `[B, Q]`, prompt positions shown as the mask token; None shows all.
    """

    masked: Tensor
    probability: Tensor | None = None
    scored: Tensor | None = None
    prompt_masked: Tensor | None = None


def random_view(batch: CompletionBatch, t_B: Tensor, generator: Generators) -> View:
    """A view with each canvas position masked independently.

    Args:
        batch: B completions.
        t_B: probability for each row that a position is masked.
        generator: one generator, or one per row.
    """
    t_B = t_B.to(batch.completion_ids.device)
    return View(sample_mask(batch.context_mask, t_B, generator), t_B)


def view_log_probs(
    model: PreTrainedModel,
    batch: CompletionBatch,
    view: View,
    mask_token_id: int,
    logits_mib: float = LOGITS_MIB,
) -> Tensor:
    """Log p of the masked real tokens, given what is left visible.

    The vocabulary projection runs at the scored positions alone; the rest of the model runs over
    rows that differ: with everything masked, all completions of a prompt look alike.

    Args:
        model: a bidirectional causal-LM module.
        batch: the completions.
        view: what is masked.
        mask_token_id: the mask token.
        logits_mib: memory for logits and what is computed from them, in MiB.

    Returns:
        float32 `[B, L]`, 0 at visible positions, at padding and where nothing is scored.
    """
    prompt_BQ = batch.prompt_ids
    if view.prompt_masked is not None:
        prompt_BQ = mask_tokens(prompt_BQ, view.prompt_masked, mask_token_id)
    noised_BL = mask_tokens(batch.completion_ids, view.masked, mask_token_id)
    tokens_BT = torch.cat([prompt_BQ, noised_BL], dim=1)
    attended_BT = torch.cat([batch.prompt_mask, batch.context_mask], dim=1)
    first_U, row_B = _different(torch.stack([tokens_BT, attended_BT.long()], 1))
    attended_UT = attended_BT[first_U]
    states_UTD = aligned_states(model, tokens_BT[first_U], attended_UT, position_ids(attended_UT))
    masked_BL = view.masked if view.scored is None else view.masked & view.scored
    scored_BL = masked_BL & batch.completion_mask
    completion_N, place_N = scored_BL.nonzero(as_tuple=True)
    states_ND = states_UTD[row_B[completion_N], place_N + prompt_BQ.shape[1]]
    scores_N = token_log_probs(model, states_ND, batch.completion_ids[scored_BL], logits_mib)
    scores_BL = torch.zeros(scored_BL.shape, device=scores_N.device)
    return scores_BL.masked_scatter(scored_BL, scores_N)


def _different(rows_BX: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each set of equal rows, in order: `[U]`; and which of these each row equals."""
    _, set_B = rows_BX.unique(dim=0, return_inverse=True)
    first_B = (set_B[:, None] == set_B).int().argmax(1)
    return first_B.unique(return_inverse=True)
