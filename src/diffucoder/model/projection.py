"""The vocabulary projection, at the positions that need it and nowhere else.

With a vocabulary of 150,000 the logits of a batch outweigh everything else in memory, and most
of them are never looked at: a masked diffusion loss reads the masked positions alone. Of those,
logits that do not fit into a given memory are made and dropped in chunks.

Shapes: B rows, L positions, D hidden width, V vocabulary, N chosen positions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.config.engine import LOGITS_MIB
from diffucoder.model import chunked
from diffucoder.model.kernels import Segments, forward_inputs
from diffucoder.model.shift import aligned_hidden

MIB = 2**20
# Bytes for each logit while a loss is taken at once: log-probabilities, their gradient and that
# of the logits, in float32.
PLAIN_BYTES = 12
# And in chunks: the logits in float32, which become their gradient in place, and a copy in half
# precision where the head has it.
CHUNK_BYTES = 6


def chunk_for(vocabulary: int, positions: int, logits_mib: float) -> int | None:
    """Positions whose logits may be held together; None if all may, gradients included.

    Args:
        vocabulary: logits of a position.
        positions: number of positions to score.
        logits_mib: memory for logits and what a loss computes from them, in MiB.
    """
    memory = logits_mib * MIB
    if positions * vocabulary * PLAIN_BYTES <= memory:
        return None
    return max(1, int(memory / (vocabulary * CHUNK_BYTES)))


def head(model: PreTrainedModel, states_ND: Tensor) -> chunked.Head:
    """What `chunked` makes the logits of these states from.

    Args:
        model: a causal-LM module of transformers.
        states_ND: last hidden states.
    """
    output: Any = model.get_output_embeddings()
    weight_VD: Tensor = output.weight
    bias_V: Tensor | None = getattr(output, "bias", None)
    device = states_ND.device.type
    if not torch.is_autocast_enabled(device):
        return chunked.Head(states_ND, weight_VD, bias_V)
    dtype = torch.get_autocast_dtype(device)
    bias_V = None if bias_V is None else bias_V.to(dtype)
    return chunked.Head(states_ND.to(dtype), weight_VD.to(dtype), bias_V)


def aligned_states(
    model: PreTrainedModel,
    input_ids_BL: Tensor,
    attention: Tensor | Segments | None = None,
    position_ids_BL: Tensor | None = None,
) -> Tensor:
    """Last hidden states, aligned so that index i predicts token i.

    Args:
        model: a causal-LM module of transformers, with a body and an output embedding.
        input_ids_BL: tokens.
        attention: `[B, L]` (true on real tokens), bool `[B, 1, L, L]` (true where row may look
            at column), or what `kernels.document_attention` gives; None looks at everything.
        position_ids_BL: positions for the rotary embedding; None counts from 0.

    Returns:
        `[B, L, D]`.
    """
    output = model.get_decoder()(
        input_ids=input_ids_BL,
        position_ids=position_ids_BL,
        use_cache=False,
        **forward_inputs(model, attention),
    )
    return aligned_hidden(output.last_hidden_state)


def logits(model: PreTrainedModel, states_ND: Tensor) -> Tensor:
    """Logits `[N, V]` from last hidden states.

    Args:
        model: a causal-LM module of transformers.
        states_ND: last hidden states.
    """
    output: Any = model.get_output_embeddings()
    return output(states_ND)


def token_log_probs(
    model: PreTrainedModel, states_ND: Tensor, targets_N: Tensor, logits_mib: float = LOGITS_MIB
) -> Tensor:
    """Log-probabilities of given tokens at chosen positions, in nats.

    Args:
        model: a causal-LM module of transformers.
        states_ND: the chosen ones of what `aligned_states` gave.
        targets_N: the tokens whose probability is asked for.
        logits_mib: memory for logits and what is computed from them, in MiB.

    Returns:
        float32 `[N]`. The log-softmax runs in float32 whatever the model's precision.
    """
    chunk = chunk_for(model.config.vocab_size, len(targets_N), logits_mib)
    if chunk is None:
        logits_NV = logits(model, states_ND).float()
        return -nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    return -chunked.cross_entropy(head(model, states_ND), targets_N, chunk).float()
