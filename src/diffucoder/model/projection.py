"""The vocabulary projection, at the positions that need it and nowhere else.

With a vocabulary of 150,000 the logits of a batch outweigh everything else in memory, and most
of them are never looked at: a masked diffusion loss reads the hidden positions alone.

Shapes: B rows, L positions, D hidden width, V vocabulary, N chosen positions.
"""

import torch
from torch import Tensor, nn

from diffucoder.model.shift import aligned_hidden


def aligned_states(
    model: nn.Module,
    input_ids_BL: Tensor,
    attention_mask: Tensor | None = None,
    position_ids_BL: Tensor | None = None,
) -> Tensor:
    """Last hidden states, aligned so that index i predicts token i.

    Args:
        model: a causal-LM module of transformers with a `base_model` and an output embedding.
        input_ids_BL: tokens.
        attention_mask: `[B, L]` (true on real tokens) or bool `[B, 1, L, L]` (true where row
            may look at column); None looks at everything.
        position_ids_BL: positions for the rotary embedding; None counts from 0.

    Returns:
        `[B, L, D]`.
    """
    output = model.base_model(
        input_ids=input_ids_BL,
        attention_mask=attention_mask,
        position_ids=position_ids_BL,
        use_cache=False,
    )
    return aligned_hidden(output.last_hidden_state)


def logits_at(model: nn.Module, states_BLD: Tensor, where_BL: Tensor) -> Tensor:
    """Logits at the positions where `where_BL` is true, in row-major order: `[N, V]`."""
    return model.get_output_embeddings()(states_BLD[where_BL])


def token_log_probs(
    model: nn.Module,
    input_ids_BL: Tensor,
    targets_BL: Tensor,
    where_BL: Tensor,
    attention_mask: Tensor | None = None,
    position_ids_BL: Tensor | None = None,
) -> Tensor:
    """log p(target_i | input) at chosen positions.

    Args:
        model: a causal-LM module of transformers.
        input_ids_BL: the (noised) input.
        targets_BL: the tokens whose probability is asked.
        where_BL: bool, the positions to score.
        attention_mask: as in `aligned_states`.
        position_ids_BL: as in `aligned_states`.

    Returns:
        float32 `[B, L]`; 0 where `where_BL` is false. The log-softmax runs in float32 whatever
        the model's precision.
    """
    states_BLD = aligned_states(model, input_ids_BL, attention_mask, position_ids_BL)
    logits_NV = logits_at(model, states_BLD, where_BL).float()
    chosen_N = -nn.functional.cross_entropy(logits_NV, targets_BL[where_BL], reduction="none")
    scores_BL = torch.zeros(targets_BL.shape, dtype=torch.float32, device=chosen_N.device)
    return scores_BL.masked_scatter(where_BL, chosen_N)
