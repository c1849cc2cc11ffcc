"""Packed rows of the shards, in the order in which training reads them.

Shapes: B rows, L positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffucoder.data.packing import ShardReader


@dataclass(frozen=True)
class PackedTokens:
    """Packed rows as tensors: a single row `[L]`, or a batch `[B, L]`.

    Attributes:
        input_ids: int64, tokens.
        document_ids: int64, the document of each token, -1 on filler.
    """

    input_ids: Tensor
    document_ids: Tensor

    @classmethod
    def stack(cls, rows: "Sequence[PackedTokens]") -> "PackedTokens":
        """Single rows as a batch."""
        return cls(
            torch.stack([row.input_ids for row in rows]),
            torch.stack([row.document_ids for row in rows]),
        )

    def to(self, device: torch.device) -> "PackedTokens":
        """The same on `device`."""
        return PackedTokens(
            self.input_ids.to(device, non_blocking=True),
            self.document_ids.to(device, non_blocking=True),
        )


def packed_rows(reader: ShardReader, seed: int) -> Callable[[int, int], list[PackedTokens]]:
    """A reader of rows number `first` to `last` - 1 of an endless shuffled reading.

    Args:
        reader: the shards.
        seed: seed of the order, which differs from epoch to epoch.

    Returns:
        `rows_between(first, last)`, which gives single rows.
    """

    def rows_between(first: int, last: int) -> list[PackedTokens]:
        tokens, documents = reader.read_rows(reader.shuffled(range(first, last), seed))
        pairs = zip(torch.from_numpy(tokens), torch.from_numpy(documents), strict=True)
        return [PackedTokens(*pair) for pair in pairs]

    return rows_between
