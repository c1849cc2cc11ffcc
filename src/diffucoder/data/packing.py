"""Packing of documents into rows of equal length, and a reader of packed rows.

Legend: n rows, L positions.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from diffucoder.data.epochs import Order, shuffled_epochs
from diffucoder.data.packed_row import FILLER, PackedRow
from diffucoder.data.shards import Shards
from diffucoder.errors import BadData


def pack(documents: Iterable[list[int]], length: int, end_token_id: int) -> Iterator[PackedRow]:
    """Concatenate documents and cut them into rows.

    Each document is followed by one end token that belongs to it. A document that does not fit
    continues in the next row under the same document id. The last row is filled with end tokens
    whose document id is -1, so that the tokens with an id of 0 or more, in order, are exactly
    the documents with their end tokens.

    Args:
        documents: Token lists; read once, one at a time.
        length: Tokens in a row.
        end_token_id: The token that ends a document.

    Yields:
        Rows of `length` tokens.

    Raises:
        ValueError: If `length` is less than 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    tokens: list[int] = []
    ids: list[int] = []
    for number, document in enumerate(documents):
        tokens += [*document, end_token_id]
        ids += [number] * (len(document) + 1)
        whole = len(tokens) - len(tokens) % length
        for begin in range(0, whole, length):
            end = begin + length
            yield {"input_ids": tokens[begin:end], "document_ids": ids[begin:end]}
        tokens, ids = tokens[whole:], ids[whole:]
    if tokens:
        missing = length - len(tokens)
        yield {
            "input_ids": tokens + [end_token_id] * missing,
            "document_ids": ids + [FILLER] * missing,
        }


class ShardReader:
    """Random and shuffled access to packed rows, with a bounded number of rows in memory.

    Shuffling permutes the row groups of the corpus, cuts them into windows of `window` groups,
    and permutes the rows within each window. Each epoch has another order, which depends only on
    the seed and the epoch, so that reading can start at any position.

    Attributes:
        length: Tokens in a row.
    """

    def __init__(self, path: Path | str, window: int = 64) -> None:
        """Open a directory of packed rows.

        Args:
            path: The directory.
            window: Row groups that are held in memory, and shuffled together.

        Raises:
            BadData: If the directory is damaged or holds something else.
        """
        self._shards = Shards(path)
        self._window = window
        self._sizes = np.array([rows for _, _, rows in self._shards.row_groups], dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(self._sizes)])
        self._groups: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        # Neighbouring positions need one order of groups, or two at the end of an epoch.
        self._epoch = lru_cache(maxsize=2)(self._new_epoch)
        self._rows_of_window = lru_cache(maxsize=4)(_new_row_order)
        if "length" not in self._shards.metadata:
            raise BadData(f"{path}: its manifest gives no row length, so it holds no packed rows")
        self.length: int = self._shards.metadata["length"]

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def groups_in_memory(self) -> int:
        """Number of row groups that are held in memory, at most `window`."""
        return len(self._groups)

    def read_rows(self, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Read rows by their number in the corpus.

        Args:
            indices: Numbers of rows, from 0.

        Returns:
            input_ids `[n, L]` and document_ids `[n, L]`, int64, in the order of `indices`.

        Raises:
            BadData: If a part is corrupt; the message names the file.
            IndexError: If there is no such row.
        """
        rows = np.fromiter(indices, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} requested, there are {len(self)}")
        groups = np.searchsorted(self._first, rows, side="right") - 1
        input_ids = np.empty((len(rows), self.length), dtype=np.int64)
        document_ids = np.empty_like(input_ids)
        for group in np.unique(groups):
            in_group = groups == group
            group_tokens, group_ids = self._group(int(group))
            input_ids[in_group] = group_tokens[rows[in_group] - self._first[group]]
            document_ids[in_group] = group_ids[rows[in_group] - self._first[group]]
        return input_ids, document_ids

    def shuffled(self, positions: Iterable[int], seed: int) -> np.ndarray:
        """Map positions of an endless shuffled reading to rows.

        Positions `e * len(reader)` to `(e + 1) * len(reader) - 1` are epoch e and hold every
        row once.

        Args:
            positions: Positions, from 0.
            seed: Random seed of the order.

        Returns:
            The number of the row at each position, int64 `[n]`.
        """

        def order_of(epoch: int) -> Order:
            return partial(self._row_at, seed, epoch)

        return np.array(shuffled_epochs(len(self), positions, order_of), dtype=np.int64)

    def rows(
        self, start: int = 0, seed: int | None = None, batch: int = 64
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read rows from a position to the end of its epoch.

        Args:
            start: First position; with a seed it may lie in any epoch.
            seed: Random seed of the shuffled order; None reads in the order of the corpus.
            batch: Number of rows that are read at once.

        Yields:
            (input_ids `[L]`, document_ids `[L]`).
        """
        end = len(self) if seed is None else (start // len(self) + 1) * len(self)
        for begin in range(start, end, batch):
            positions = range(begin, min(begin + batch, end))
            indices = positions if seed is None else self.shuffled(positions, seed)
            yield from zip(*self.read_rows(indices), strict=True)

    def _group(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        if group not in self._groups:
            table = self._shards.read_group(group)
            tokens, ids = (
                table[name].combine_chunks().flatten().to_numpy().reshape(-1, self.length)
                for name in ("input_ids", "document_ids")
            )
            self._groups[group] = tokens, ids
            if len(self._groups) > self._window:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]

    def _row_at(self, seed: int, epoch: int, offset: int) -> int:
        order, window_ends = self._epoch(seed, epoch)
        window = int(np.searchsorted(window_ends, offset, side="right"))
        groups = order[window * self._window : (window + 1) * self._window]
        sizes = self._sizes[groups]
        rows = int(sizes.sum())
        row = self._rows_of_window(seed, epoch, window, rows)[offset - window_ends[window] + rows]
        ends = np.cumsum(sizes)
        group = int(np.searchsorted(ends, row, side="right"))
        return int(self._first[groups[group]] + row - ends[group] + sizes[group])

    def _new_epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the row groups, and the position at which each window of them ends."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self._sizes))
        ends = np.cumsum(self._sizes[order])
        last_groups = np.arange(self._window, len(order) + self._window, self._window) - 1
        return order, ends[np.minimum(last_groups, len(order) - 1)]


def _new_row_order(seed: int, epoch: int, window: int, rows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, window]).permutation(rows)
