"""Which rows share a model call, and the call over whole rows.

Shapes: B rows, T tokens of a padded row, N masked positions, D hidden width.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.decoding.row import Row
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states

Padding = Literal["left", "right"]


def batches(rows: Collection[Row]) -> Iterator[list[Row]]:
    """Split rows into batches that are computed together.

    Rows without a cache, rows whose cache is computed again, and rows that compute a part differ
    in what they compute. Each kind is split further where padding would take more than the
    `max_padding` of its rows.

    Args:
        rows: all rows that are being decoded.

    Yields:
        Rows of one model call.
    """
    kinds: dict[tuple[bool, bool], list[Row]] = {}
    for row in rows:
        cached = row.request.config.cache != "none"
        kinds.setdefault((cached, cached and row.stale), []).append(row)
    for alike in kinds.values():
        yield from _split(alike, min(row.request.config.max_padding for row in alike))


def _split(rows: list[Row], max_padding: float) -> Iterator[list[Row]]:
    """Batches with at most this share of padding."""
    if _padding_ratio(rows) <= max_padding:
        yield rows
        return
    batch: list[Row] = []
    for row in sorted(rows, key=_length):
        if batch and _padding_ratio([*batch, row]) > max_padding:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _length(row: Row) -> int:
    if row.request.config.cache == "none":
        return row.prompt_length + row.length
    start, stop = row.query
    return stop - start


def _padding_ratio(rows: Sequence[Row]) -> float:
    lengths = [_length(row) for row in rows]
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def full_forward(
    model: PreTrainedModel, rows: Sequence[Row], pad_token_id: int, padding: Padding
) -> tuple[Tensor, int]:
    """Compute every position of the rows and read the states of the candidates.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        rows: rows of one batch.
        pad_token_id: the token that fills shorter rows.
        padding: the side on which they are filled.

    Returns:
        Aligned states of the rows' candidates in their order, `[N, D]`, and the number of
        positions that were computed.
    """
    device = next(model.parameters()).device
    longest = max(row.prompt_length + row.length for row in rows)
    ids_BT = torch.full((len(rows), longest), pad_token_id)
    real_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    candidates_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    for index, row in enumerate(rows):
        end = row.prompt_length + row.length
        first = longest - end if padding == "left" else 0
        ids_BT[index, first : first + end] = row.tokens[:end]
        real_BT[index, first : first + end] = True
        canvas = slice(first + row.prompt_length, first + end)
        candidates_BT[index, canvas] = row.candidates[: row.length]
    real_BT = real_BT.to(device)
    states_BTD = aligned_states(model, ids_BT.to(device), real_BT, position_ids(real_BT))
    return states_BTD[candidates_BT.to(device)], ids_BT.numel()
