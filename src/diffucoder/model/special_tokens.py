"""Tokens that a diffusion model needs and an autoregressive checkpoint lacks.

Shapes: V vocabulary, D hidden width, N new tokens.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.errors import BadCheckpoint

# Share of the spread of the known rows that is added to their mean: enough that two new tokens
# differ from the start, too little to leave the region that the layers were trained on.
NOISE_SHARE = 0.1


def new_token_ids(
    known: PreTrainedTokenizerBase, wanted: PreTrainedTokenizerBase, where: str
) -> list[int]:
    """Ids that `wanted` has and a checkpoint's own tokenizer does not.

    Args:
        known: the tokenizer that the checkpoint was trained with.
        wanted: the tokenizer that the pipeline's shards were made with.
        where: the checkpoint, for the error.

    Returns:
        Sorted ids.

    Raises:
        BadCheckpoint: if a token of `known` is missing from `wanted` or has another id there,
            which would scramble the vocabulary.
    """
    known_ids, wanted_ids = known.get_vocab(), wanted.get_vocab()
    moved = [token for token, place in known_ids.items() if wanted_ids.get(token) != place]
    if moved:
        raise BadCheckpoint(
            f"{where}: its tokenizer and the pipeline's disagree on {len(moved)} of "
            f"{len(known_ids)} tokens, first {moved[0]!r}: set ingestion's tokenizer to this "
            "checkpoint and run `kedro run --pipeline=ingestion` again"
        )
    return sorted(set(wanted_ids.values()) - set(known_ids.values()))


def add_token_embeddings(
    model: PreTrainedModel, new_ids: Sequence[int], generator: torch.Generator
) -> None:
    """Give new tokens a place in the vocabulary, in place.

    Their rows of the input embedding, and of the output head where it is not tied, become the
    mean of the rows of the tokens known so far plus a little noise. A mean row keeps the new
    token's logit near the average one; rows left at random would dominate or never be chosen.
    Checkpoints often have spare rows past their tokenizer: those are used before any is added.

    Args:
        model: a causal-LM module of transformers.
        new_ids: ids to add, each at or above every known id.
        generator: source of the noise, on the CPU.
    """
    if not new_ids:
        return
    known = min(new_ids)
    if max(new_ids) >= model.get_input_embeddings().num_embeddings:
        # The initial values are overwritten below, so the slower default is not wanted.
        model.resize_token_embeddings(max(new_ids) + 1, mean_resizing=False)
    _set_rows(model.get_input_embeddings(), known, new_ids, generator)
    if not model.config.tie_word_embeddings:
        _set_rows(model.get_output_embeddings(), known, new_ids, generator)


@torch.no_grad()
def _set_rows(
    table: nn.Embedding | nn.Linear, known: int, new_ids: Sequence[int], generator: torch.Generator
) -> None:
    known_VD = table.weight[:known].float()
    noise_ND = torch.randn(len(new_ids), known_VD.shape[1], generator=generator)
    rows_ND = known_VD.mean(0) + NOISE_SHARE * known_VD.std(0) * noise_ND.to(known_VD.device)
    table.weight[list(new_ids)] = rows_ND.to(table.weight.dtype)
