"""The diffusion sampler: rows join and leave, and a step takes each of them further.

Shapes: N masked positions, D hidden width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding.batching import Padding, batches, full_forward
from diffucoder.decoding.cache import BlockCache
from diffucoder.decoding.choice import Reveal, choose
from diffucoder.decoding.request import Request, Step, check_model, check_request
from diffucoder.decoding.row import Row


class Sampler:
    """Rows that are decoded together, each as it would be alone.

    Rows can be added and removed between any two steps. What a row becomes depends on its own
    request: rules, budgets, draws and ends are its own, and padding is neither attended to nor
    counted in positions. Only rounding may differ, where matrix products of another batch size
    round otherwise.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        special: ids of its special tokens. The mask is never sampled; filler fills shorter rows.
        padding: the side on which shorter rows are padded.

    Attributes:
        model: as given.
        special: as given.
        padding: as given.
        forwards: number of model calls so far.
        computed_positions: number of token positions computed so far, padding included.

    Raises:
        BadCheckpoint: for a model without a mask token.
    """

    def __init__(self, model: nn.Module, special: SpecialIds, padding: Padding = "left") -> None:
        self.model = check_model(model, special)
        self.special = special
        self.padding: Padding = padding
        self.forwards = self.computed_positions = 0
        self._rows: dict[int, Row] = {}
        self._added = 0
        self._cache = BlockCache()

    def __len__(self) -> int:
        """Number of rows that are being decoded."""
        return len(self._rows)

    def add(self, request: Request) -> int:
        """Add a row; it is decoded from the next step on.

        Args:
            request: what to decode.

        Returns:
            The row's number, counted from 0 over all rows that were ever added.

        Raises:
            BadData: for an empty prompt, a canvas without masks, or a row longer than the
                model's context.
            BadParameters: for a cache that the model's attention cannot use.
        """
        number = self._added
        check_request(self.model, request, self.special, number)
        self._rows[number] = Row(number, request, self.special)
        self._added += 1
        return number

    def remove(self, number: int) -> None:
        """Remove a row, finished or not."""
        self._rows.pop(number, None)
        self._cache.retain(self._rows)

    @torch.inference_mode()
    def step(self) -> list[Step]:
        """Take every row one step further; finished rows are removed.

        Returns:
            What was revealed: a record for each row, in the order of their numbers.
        """
        for row in self._rows.values():
            row.skip_idle_steps()
        steps = []
        for rows in batches(self._rows.values()):
            for row, positions, tokens in self._reveals(rows, self._states(rows)):
                number = row.step
                row.reveal(positions, tokens)
                completion = row.completion() if row.done else None
                steps.append(
                    Step(row.number, number, positions.tolist(), tokens.tolist(), completion)
                )
        for step in steps:
            if step.completion:
                del self._rows[step.row]
        self._cache.retain(self._rows)
        return sorted(steps, key=lambda step: step.row)

    def _states(self, rows: Sequence[Row]) -> Tensor:
        """Aligned states of the rows' candidates, `[N, D]`."""
        if rows[0].request.config.cache == "none":
            states_ND, computed = full_forward(self.model, rows, self.special.pad, self.padding)
        else:
            states_ND, computed = self._cache.states(self.model, rows, self.special.pad)
        self.forwards += 1
        self.computed_positions += computed
        return states_ND

    def _reveals(self, rows: Sequence[Row], states_ND: Tensor) -> list[Reveal]:
        """What this step reveals; rows that differ in their config are treated separately."""
        counts = [row.num_candidates for row in rows]
        parts = list(zip(rows, states_ND.split(counts), strict=True))
        reveals = []
        for config in dict.fromkeys(row.request.config for row in rows):
            same = [part for part in parts if part[0].request.config == config]
            states = torch.cat([states for _, states in same])
            reveals += choose(self.model, [row for row, _ in same], states, self.special)
        return reveals
