"""The diffusion sampler: rows come and go, and a step takes each of them further.

Shapes: N masked positions, D hidden width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffucoder.decoding.batching import Padding, batches, whole_rows
from diffucoder.decoding.cache import BlockCache
from diffucoder.decoding.choice import Reveal, choose
from diffucoder.decoding.request import Request, Step, check_model, check_request
from diffucoder.decoding.row import Row


class Session:
    """Rows that are decoded together, each as it would be alone.

    Rows can be added and removed between any two steps. What a row becomes depends on its own
    request: rules, budgets, draws and ends are its own, and padding is neither attended to nor
    counted in positions. Only rounding may differ, where the matrix products of another batch
    size round otherwise.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        mask_token_id: the mask token; it is never sampled.
        pad_token_id: filler, which a model writes after the end of its text.
        padding: the side on which shorter rows are padded.

    Attributes:
        forwards: model calls so far.
        positions: token positions computed so far, padding included.

    Raises:
        BadCheckpoint: for a model with no mask token.
    """

    def __init__(
        self, model: nn.Module, mask_token_id: int, pad_token_id: int, padding: Padding = "left"
    ) -> None:
        check_model(model, mask_token_id)
        self.model, self.mask, self.pad, self.padding = model, mask_token_id, pad_token_id, padding
        self.forwards = self.positions = 0
        self._rows: dict[int, Row] = {}
        self._added = 0
        self._cache = BlockCache()

    def __len__(self) -> int:
        """Rows that are being decoded."""
        return len(self._rows)

    def add(self, request: Request) -> int:
        """Take a row in; it is decoded from the next step on.

        Returns:
            Its number, counted from 0 over the session.

        Raises:
            BadData: for an empty prompt, a canvas without masks, or a row longer than the
                model's context.
            BadParameters: for a cache that the model's attention cannot use.
        """
        number = self._added
        check_request(self.model, request, self.mask, number)
        self._rows[number] = Row(number, request, self.mask, self.pad)
        self._added += 1
        return number

    def remove(self, number: int) -> None:
        """Let a row go, finished or not."""
        self._rows.pop(number, None)
        self._cache.keep(self._rows)

    @torch.inference_mode()
    def step(self) -> list[Step]:
        """Take every row one step further; finished rows leave.

        Returns:
            What was revealed, a record for each row.
        """
        for row in self._rows.values():
            row.skip_idle_steps()
        steps = []
        for rows in batches(self._rows.values()):
            for row, places, written in self._reveal(rows, self._states(rows)):
                step = row.step
                row.reveal(places, written)
                completion = row.completion() if row.done else None
                steps.append(Step(row.number, step, places.tolist(), written.tolist(), completion))
        for step in steps:
            if step.completion:
                del self._rows[step.row]
        self._cache.keep(self._rows)
        return sorted(steps, key=lambda step: step.row)

    def _states(self, rows: Sequence[Row]) -> Tensor:
        """Aligned states of the rows' candidates, `[N, D]`."""
        if rows[0].request.config.cache == "none":
            states_ND, computed = whole_rows(self.model, rows, self.pad, self.padding)
        else:
            states_ND, computed = self._cache.states(self.model, rows, self.pad)
        self.forwards += 1
        self.positions += computed
        return states_ND

    def _reveal(self, rows: Sequence[Row], states_ND: Tensor) -> list[Reveal]:
        """What this step reveals; rows that differ in their config are looked at apart."""
        counts = [row.waiting for row in rows]
        parts = list(zip(rows, states_ND.split(counts), strict=True))
        reveals = []
        for config in dict.fromkeys(row.request.config for row in rows):
            same = [part for part in parts if part[0].request.config == config]
            states = torch.cat([states for _, states in same])
            reveals += choose(self.model, [row for row, _ in same], states, self.mask, self.pad)
        return reveals
