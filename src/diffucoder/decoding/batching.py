"""Which rows share a model call, and the call over whole rows.

Shapes: B rows, T tokens of a padded row, N masked positions, D hidden width.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from diffucoder.decoding.row import Row
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states

Padding = Literal["left", "right"]


def batches(rows: Collection[Row]) -> Iterator[list[Row]]:
    """Rows that are computed together.

    Rows without a cache, rows whose cache is computed anew, and rows that compute a part differ
    in what they compute. Each kind is split further where padding would take more than the
    `max_padding` of its rows.
    """
    kinds: dict[tuple[bool, bool], list[Row]] = {}
    for row in rows:
        cached = row.request.config.cache != "none"
        kinds.setdefault((cached, cached and row.stale), []).append(row)
    for alike in kinds.values():
        yield from _split(alike, min(row.request.config.max_padding for row in alike))


def _split(rows: list[Row], max_padding: float) -> Iterator[list[Row]]:
    """Batches in which at most this share is padding."""
    if _padding(rows) <= max_padding:
        yield rows
        return
    batch: list[Row] = []
    for row in sorted(rows, key=_length):
        if batch and _padding([*batch, row]) > max_padding:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _length(row: Row) -> int:
    start, stop = row.query if row.request.config.cache != "none" else (0, row.begin + row.length)
    return stop - start


def _padding(rows: Sequence[Row]) -> float:
    lengths = [_length(row) for row in rows]
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def whole_rows(
    model: nn.Module, rows: Sequence[Row], pad_token_id: int, padding: Padding
) -> tuple[Tensor, int]:
    """Compute every position of the rows and read the states of the masked ones.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        rows: the rows.
        pad_token_id: what fills shorter rows.
        padding: on which side.

    Returns:
        Aligned states of the rows' candidates in their order, `[N, D]`, and how many positions
        were computed.
    """
    device = next(model.parameters()).device
    longest = max(row.begin + row.length for row in rows)
    ids_BT = torch.full((len(rows), longest), pad_token_id)
    real_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    where_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    for index, row in enumerate(rows):
        end = row.begin + row.length
        first = longest - end if padding == "left" else 0
        ids_BT[index, first : first + end] = row.tokens[:end]
        real_BT[index, first : first + end] = True
        where_BT[index, first + row.begin : first + end] = row.candidates[: row.length]
    real_BT = real_BT.to(device)
    states_BTD = aligned_states(model, ids_BT.to(device), real_BT, position_ids(real_BT))
    return states_BTD[where_BT.to(device)], ids_BT.numel()
