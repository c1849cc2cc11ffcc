"""Keys and values of whole rows, so that a step can compute a few positions alone.

Between two passes over a whole row its keys and values are stored; a pass over part of it (a
block, or a block and what follows) replaces those of the part and attends to all. This is the
prefix and dual caching of Fast-dLLM (arXiv 2505.22618), with one difference: the position just
before the block is computed with the block, since under the shift-by-one its state predicts the
block's first token.

Shapes: B rows of a pass, S rows in the cache, Q computed positions, C columns of the cache,
N masked positions, H heads of keys and values, K channels of a head, D hidden width.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from diffucoder.decoding.row import Row
from diffucoder.model.shift import aligned_hidden


class Pass(NamedTuple):
    """Which entries of the cache a forward pass writes and reads.

    Attributes:
        slots: int64 `[B]`, the slot of each row.
        columns: int64 `[B, Q]`, the column of each computed position.
        num_columns: number of columns, from the first, that hold what the rows attend to.
        every_slot: whether the rows are those of all slots in their order.
    """

    slots: Tensor
    columns: Tensor
    num_columns: int
    every_slot: bool


class BlockCache:
    """The rows' keys and values, in one slot per row.

    It stands in for the cache that attention layers of transformers update. The stored keys and
    values of each layer are `[S, H, C, K]`: token i of a row is column i + 1, and column 0 takes
    what padding computes and is never attended to. A slot is found by its row's number.
    """

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._columns = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._pass: Pass | None = None

    def states(
        self, model: PreTrainedModel, rows: Sequence[Row], pad_token_id: int
    ) -> tuple[Tensor, int]:
        """Compute each row's `query` and read the states of its candidates.

        Args:
            model: a bidirectional causal-LM module that predicts with the shift-by-one.
            rows: rows of which each is stale, or was in the cache's last pass over it.
            pad_token_id: the token that fills shorter queries.

        Returns:
            Aligned states of the rows' candidates in their order, `[N, D]`, and the number of
            positions that were computed.
        """
        device = next(model.parameters()).device
        spans = [row.query for row in rows]
        longest = max(stop - start for start, stop in spans)
        ids_BQ = torch.full((len(rows), longest), pad_token_id)
        positions_BQ = torch.full((len(rows), longest), -1)
        candidates_BQ = torch.zeros((len(rows), longest), dtype=torch.bool)
        for index, (row, (start, stop)) in enumerate(zip(rows, spans, strict=True)):
            ids_BQ[index, : stop - start] = row.tokens[start:stop]
            positions_BQ[index, : stop - start] = torch.arange(start, stop)
            first = max(row.prompt_length - start, 0)
            canvas = slice(max(start - row.prompt_length, 0), stop - row.prompt_length)
            candidates_BQ[index, first : stop - start] = row.candidates[canvas]
        ends_B = torch.tensor([row.prompt_length + row.length for row in rows])
        columns_C = torch.arange(int(ends_B.max()) + 1)
        visible_BC = ((columns_C >= 1) & (columns_C <= ends_B[:, None])).to(device)
        self._begin_pass(rows, positions_BQ.to(device) + 1, len(columns_C))
        output = model.base_model(
            input_ids=ids_BQ.to(device),
            attention_mask=visible_BC[:, None, None].expand(-1, 1, longest, -1),
            position_ids=positions_BQ.clamp(min=0).to(device),
            # Attention calls `update` alone.
            past_key_values=cast(Cache, self),
            use_cache=True,
        )
        states_BQD = aligned_hidden(output.last_hidden_state)
        return states_BQD[candidates_BQ.to(device)], candidates_BQ.numel()

    def update(
        self, keys_BHQK: Tensor, values_BHQK: Tensor, layer: int, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """Store what a layer computed and return what it attends to; attention layers call it.

        Args:
            keys_BHQK: computed keys.
            values_BHQK: computed values.
            layer: index of the layer.

        Returns:
            Keys and values of all columns that are attended to, `[B, H, C, K]` each.
        """
        empty = keys_BHQK[:0, :, :0], values_BHQK[:0, :, :0]
        keys_SHCK, values_SHCK = self._layers.get(layer, empty)
        self._layers[layer] = self._grow(keys_SHCK), self._grow(values_SHCK)
        current, attended = self._pass, []
        assert current is not None
        for all_SHCK, new_BHQK in zip(self._layers[layer], (keys_BHQK, values_BHQK), strict=True):
            all_SHCK[current.slots[:, None], :, current.columns] = new_BHQK.transpose(1, 2)
            rows = all_SHCK if current.every_slot else all_SHCK[current.slots]
            attended.append(rows[:, :, : current.num_columns])
        return attended[0], attended[1]

    def retain(self, numbers: Collection[int]) -> None:
        """Drop all rows but those with these numbers."""
        slots = {number: slot for number, slot in self._slots.items() if number in numbers}
        if len(slots) < len(self._slots):
            left = list(slots.values())
            self._layers = {
                layer: (keys[left], values[left]) for layer, (keys, values) in self._layers.items()
            }
            self._slots = {number: slot for slot, number in enumerate(slots)}
        if not slots:
            # The next rows may be shorter than those that were here.
            self._layers, self._columns = {}, 0

    def _begin_pass(self, rows: Sequence[Row], columns_BQ: Tensor, num_columns: int) -> None:
        """Set what the coming pass writes and reads; rows that are new get a slot."""
        for row in rows:
            self._slots.setdefault(row.number, len(self._slots))
        self._columns = max(self._columns, num_columns)
        slots = [self._slots[row.number] for row in rows]
        self._pass = Pass(
            torch.tensor(slots, device=columns_BQ.device),
            columns_BQ,
            num_columns,
            slots == list(range(len(self._slots))),
        )

    def _grow(self, stored_SHCK: Tensor) -> Tensor:
        """Add zeros for slots and columns that are new."""
        slots = len(self._slots) - stored_SHCK.shape[0]
        columns = self._columns - stored_SHCK.shape[2]
        if not slots and not columns:
            return stored_SHCK
        return nn.functional.pad(stored_SHCK, (0, 0, 0, columns, 0, 0, 0, slots))
