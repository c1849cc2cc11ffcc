"""Keys and values of whole rows, so that a step can compute a few positions alone.

Between two passes over a whole row its keys and values are kept; a pass over part of it (a block,
or a block and what follows) replaces those of the part and attends to all. This is the prefix and
dual caching of Fast-dLLM (arXiv 2505.22618), with one difference: the position just before the
block is computed with the block, since under the shift-by-one its state predicts the block's
first token.

Shapes: B rows of a pass, S rows in the cache, Q computed positions, C columns of the cache,
N masked positions, H heads of keys and values, K channels of a head, D hidden width.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffucoder.decoding.row import Row
from diffucoder.model.shift import aligned_hidden


class Pass(NamedTuple):
    """Where a pass writes and what it sees.

    Attributes:
        slots: int64 `[B]`, the slot of each row.
        columns: int64 `[B, Q]`, the column of each computed position.
        seen: columns, from the first, that hold what its rows look at.
        every_slot: whether its rows are those of all slots in their order.
    """

    slots: Tensor
    columns: Tensor
    seen: int
    every_slot: bool


class BlockCache:
    """The rows' keys and values, a slot each; stands in for the cache that attention asks.

    Column 0 takes what padding computes and is never looked at; token i of a row is column i + 1.
    """

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._columns = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._pass: Pass | None = None

    def states(
        self, model: nn.Module, rows: Sequence[Row], pad_token_id: int
    ) -> tuple[Tensor, int]:
        """Compute each row's `query` and read the states of its masked positions.

        Args:
            model: a bidirectional causal-LM module that predicts with the shift-by-one.
            rows: rows of which each is stale, or was in the cache's last pass over it.
            pad_token_id: what fills shorter queries.

        Returns:
            Aligned states of the rows' candidates in their order, `[N, D]`, and how many
            positions were computed.
        """
        device = next(model.parameters()).device
        spans = [row.query for row in rows]
        longest = max(stop - start for start, stop in spans)
        ids_BQ = torch.full((len(rows), longest), pad_token_id)
        places_BQ = torch.full((len(rows), longest), -1)
        where_BQ = torch.zeros((len(rows), longest), dtype=torch.bool)
        for index, (row, (start, stop)) in enumerate(zip(rows, spans, strict=True)):
            ids_BQ[index, : stop - start] = row.tokens[start:stop]
            places_BQ[index, : stop - start] = torch.arange(start, stop)
            first = max(row.begin - start, 0)
            candidates = row.candidates[max(start - row.begin, 0) : stop - row.begin]
            where_BQ[index, first : stop - start] = candidates
        ends_B = torch.tensor([row.begin + row.length for row in rows])
        columns_C = torch.arange(int(ends_B.max()) + 1)
        seen_BC = ((columns_C >= 1) & (columns_C <= ends_B[:, None])).to(device)
        self._aim(rows, places_BQ.to(device) + 1, len(columns_C))
        output = model.base_model(
            input_ids=ids_BQ.to(device),
            attention_mask=seen_BC[:, None, None].expand(-1, 1, longest, -1),
            position_ids=places_BQ.clamp(min=0).to(device),
            past_key_values=self,
            use_cache=True,
        )
        states_BQD = aligned_hidden(output.last_hidden_state)
        return states_BQD[where_BQ.to(device)], where_BQ.numel()

    def update(
        self, keys_BHQK: Tensor, values_BHQK: Tensor, layer: int, *unused: object
    ) -> tuple[Tensor, Tensor]:
        """What an attention layer calls: put the computed keys and values in, give all."""
        stored = self._layers.get(layer, (keys_BHQK[:0, :, :0], values_BHQK[:0, :, :0]))
        self._layers[layer] = (self._roomy(stored[0]), self._roomy(stored[1]))
        now, given = self._pass, []
        assert now is not None
        for all_SHCK, new_BHQK in zip(self._layers[layer], (keys_BHQK, values_BHQK), strict=True):
            all_SHCK[now.slots[:, None], :, now.columns] = new_BHQK.transpose(1, 2)
            rows = all_SHCK if now.every_slot else all_SHCK[now.slots]
            given.append(rows[:, :, : now.seen])
        return given[0], given[1]

    def keep(self, numbers: Collection[int]) -> None:
        """Let go of all rows but these."""
        kept = {number: slot for number, slot in self._slots.items() if number in numbers}
        if len(kept) < len(self._slots):
            slots = list(kept.values())
            self._layers = {
                layer: (keys[slots], values[slots])
                for layer, (keys, values) in self._layers.items()
            }
            self._slots = {number: slot for slot, number in enumerate(kept)}
        if not kept:
            # The next rows may be shorter than those that were here.
            self._layers, self._columns = {}, 0

    def _aim(self, rows: Sequence[Row], columns_BQ: Tensor, seen: int) -> None:
        """Say what the coming pass writes and sees; rows that are new get a slot."""
        for row in rows:
            self._slots.setdefault(row.number, len(self._slots))
        self._columns = max(self._columns, seen)
        slots = [self._slots[row.number] for row in rows]
        self._pass = Pass(
            torch.tensor(slots, device=columns_BQ.device),
            columns_BQ,
            seen,
            slots == list(range(len(self._slots))),
        )

    def _roomy(self, stored_SHCK: Tensor) -> Tensor:
        """With zeros for slots and columns that came since."""
        slots = len(self._slots) - stored_SHCK.shape[0]
        columns = self._columns - stored_SHCK.shape[2]
        if not slots and not columns:
            return stored_SHCK
        return nn.functional.pad(stored_SHCK, (0, 0, 0, columns, 0, 0, 0, slots))
