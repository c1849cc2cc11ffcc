"""The state of one row while it is decoded.

Shapes: L canvas positions.
"""

import math

import torch
from torch import Tensor

from diffucoder.decoding import rules
from diffucoder.decoding.request import Completion, Request, Stop
from diffucoder.decoding.trace import Recorder


class Row:
    """A canvas on its way from masks to text, at its own step of its own block.

    Everything that a step needs to know of a row is here and nothing of other rows, so that rows
    can be decoded together in any company.

    Attributes:
        number: the row's name.
        request: what was asked.
        begin: prompt tokens, so that canvas position i is token `begin + i`.
        tokens: int64 `[begin + L]`, prompt and canvas.
        masked: bool `[L]`, what is still to be revealed.
        reveal_step: int64 `[L]`, -1 where nothing was revealed.
        length: canvas positions that are still computed.
        block: first and last canvas position, plus one, that may be revealed now.
        candidates: bool `[L]`, what may be revealed at this step: the masks of the block.
        waiting: how many those are.
        step: the row's step, from 0.
        age: steps since all of the row's keys and values were computed; infinite if they are
            not to be used.
    """

    def __init__(self, number: int, request: Request, mask: int, pad: int) -> None:
        self.number, self.request, self.pad = number, request, pad
        self.begin, self.length = len(request.prompt), len(request.canvas)
        self.tokens = torch.tensor([*request.prompt, *request.canvas])
        self.masked = self.canvas == mask
        self.reveal_step = torch.full((self.length,), -1)
        given = (~self.masked).nonzero()[:, 0].tolist()
        # What may end early: the masks after the last given token.
        self.open = given[-1] + 1 if given else 0
        self.recorder = Recorder(request.alternatives)
        self.step, self.reason = 0, "length"
        self.kept: int | None = None
        self.block = (0, 0)
        self._next_block()

    @property
    def canvas(self) -> Tensor:
        """int64 `[L]`, a view of the tokens."""
        return self.tokens[self.begin :]

    @property
    def done(self) -> bool:
        """Whether nothing is left to reveal."""
        return not self.masked.any()

    @property
    def fraction(self) -> float:
        """Share of the candidates that this step's time stands for."""
        return rules.reveal_fraction(self._tick, self._ticks, self.request.config.eps)

    @property
    def count(self) -> int:
        """Candidates that this step reveals."""
        return rules.reveal_count(self.waiting, self.fraction)

    @property
    def stale(self) -> bool:
        """Whether this step needs keys and values of the whole row."""
        return self.age >= (self.request.config.refresh_every or math.inf)

    @property
    def query(self) -> tuple[int, int]:
        """Tokens, from the first to the last plus one, that this step computes with the cache.

        They begin one before the block: the shift-by-one predicts its first token from there.
        """
        end = self.begin + self.length
        if self.stale:
            return 0, end
        first = self.begin + self.block[0] - 1
        return first, end if self.request.config.cache == "prefix" else self.begin + self.block[1]

    def draw(self) -> Tensor:
        """Two uniform numbers for each position, `[L, 2]`: for its token, for its place."""
        size = len(self.masked)
        if not self.request.config.random:
            return torch.zeros(size, 2)
        return torch.rand(2, size, generator=self.request.generator).T

    def skip_idle_steps(self) -> None:
        """Pass over steps whose budget is nothing: their model calls would change nothing."""
        if rules.RULES[self.request.config.rule].choose is rules.most_confident:
            while self.count == 0:
                self.draw()
                self._advance()

    def reveal(self, places: Tensor, tokens: Tensor) -> None:
        """Write tokens at canvas positions and go on to the next step."""
        self.canvas[places] = tokens
        self.masked[places] = False
        self.reveal_step[places] = self.step
        self._look()
        self.age = 1 if self.stale else self.age + 1
        self._advance()
        if self.request.config.drop_after_end:
            self._drop_after_end()
        if self.request.stop is not None:
            self._stop(self.request.stop)
        if not self.waiting:
            self._next_block()

    def completion(self) -> Completion:
        """What the row came to."""
        canvas, end = self.canvas.tolist(), self._first_end()
        kept = len(canvas) if self.kept is None else self.kept
        if self.kept is None and end is not None:
            self.reason = "end"
            kept = end + (canvas[end] == self.request.end_token_id)
        return Completion(
            canvas[:kept],
            self.canvas.clone(),
            self.reveal_step,
            self.reason,
            self.recorder.trace(),
        )

    def _look(self) -> None:
        """See what of the block is left."""
        self.candidates = torch.zeros_like(self.masked)
        self.candidates[slice(*self.block)] = self.masked[slice(*self.block)]
        self.waiting = int(self.candidates.sum())

    def _advance(self) -> None:
        self.step += 1
        self._tick += 1

    def _start_clock(self) -> None:
        """Times from 1 on for the block's masks, at the pace of the config."""
        config = self.request.config
        self._tick = 0
        self._ticks = max(1, math.ceil(self.waiting * config.steps / config.max_new_tokens))

    def _next_block(self) -> None:
        """Go to the next block that holds a mask."""
        places = self.masked.nonzero()[:, 0].tolist()
        if not places:
            return
        size = self.request.config.block_length or len(self.masked)
        first = places[0] - places[0] % size
        self.block = (first, min(first + size, self.length))
        self.age = math.inf
        self._look()
        self._start_clock()

    def _first_end(self) -> int | None:
        """The first end token or filler that was revealed, or None."""
        tail = self.canvas[self.open :]
        ends = (tail == self.request.end_token_id) | (tail == self.pad)
        found = (ends & ~self.masked[self.open :]).nonzero()
        return self.open + int(found[0]) if len(found) else None

    def _drop_after_end(self) -> None:
        end = self._first_end()
        if end is not None and end + 1 < self.length:
            self._cut(end + 1)

    def _cut(self, length: int) -> None:
        """Write filler from a position on and compute it no more."""
        waiting = self.waiting
        self.canvas[length:] = self.pad
        self.masked[length:] = False
        self.reveal_step[length:] = -1
        self.length = length
        self.block = (self.block[0], min(self.block[1], length))
        self._look()
        if self.waiting != waiting:
            self._start_clock()

    def _stop(self, stop: Stop) -> None:
        masks, end = self.masked.nonzero(), self._first_end()
        settled = int(masks[0]) if len(masks) else self.length
        settled = settled if end is None else min(settled, end)
        kept = stop(self.canvas[:settled].tolist())
        if kept is not None:
            self.kept, self.reason = kept, "stop"
            self._cut(kept)
