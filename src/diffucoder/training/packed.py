"""Packed rows of the shards, in the order in which training reads them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffucoder.data.packing import ShardReader


class PackedRow(NamedTuple):
    """Tokens of a row, and the document of each (-1 on filler): int64 `[L]` both."""

    tokens: Tensor
    document_ids: Tensor


def packed_rows(reader: ShardReader, seed: int) -> Callable[[int, int], list[PackedRow]]:
    """Rows number `first` to `last` - 1 of an endless reading, shuffled anew each epoch.

    Args:
        reader: the shards.
        seed: of the order.
    """

    def rows_between(first: int, last: int) -> list[PackedRow]:
        tokens, documents = reader.read_rows(reader.shuffled(range(first, last), seed))
        pairs = zip(torch.from_numpy(tokens), torch.from_numpy(documents), strict=True)
        return [PackedRow(*pair) for pair in pairs]

    return rows_between
