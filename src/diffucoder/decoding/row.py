"""The state of one row while it is decoded.

Shapes: L canvas positions.
"""

import math

import torch
from torch import Tensor

from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding import rules
from diffucoder.decoding.request import Completion, Reason, Request, Stop
from diffucoder.decoding.trace import TraceRecorder


class Row:
    """A canvas on its way from masks to text, at its own step of its own block.

    Everything that a step needs to know of a row is here and nothing of other rows, so that rows
    can be decoded together in any combination.

    Args:
        number: the row's number, its key.
        request: what to decode.
        special: ids of the model's special tokens.

    Attributes:
        number: as given.
        request: as given.
        pad: filler, which a model writes after the end of its text.
        prompt_length: number of prompt tokens, so that canvas position i is token
            `prompt_length + i`.
        length: number of canvas positions that are still computed.
        tokens: int64 `[prompt_length + L]`, prompt and canvas.
        masked: bool `[L]`, positions that are still to be revealed.
        reveal_step: int64 `[L]`, the step at which each position was revealed; -1 where nothing
            was.
        first_free: the position after the last given one. From here on the text may end early.
        recorder: collects the reveals, if a trace was asked for.
        step: the row's step, from 0.
        reason: why the row ended, so far as is known: see `Completion`.
        stop_length: number of tokens to keep, once the request's own stop has ended the row;
            None before.
        block: first canvas position that may be revealed now, and the last one plus one.
        candidates: bool `[L]`, positions that may be revealed at this step: the masked ones of
            the block.
        num_candidates: how many those are.
        age: steps since all of the row's keys and values were computed; infinite if they may not
            be reused.
    """

    def __init__(self, number: int, request: Request, special: SpecialIds) -> None:
        self.number, self.request, self.pad = number, request, special.pad
        self.prompt_length, self.length = len(request.prompt), len(request.canvas)
        self.tokens = torch.tensor([*request.prompt, *request.canvas])
        self.masked = self.canvas == special.mask
        self.reveal_step = torch.full((self.length,), -1)
        given = (~self.masked).nonzero()[:, 0].tolist()
        self.first_free: int = given[-1] + 1 if given else 0
        self.recorder = TraceRecorder(request.top_logprobs)
        self.step = 0
        self.reason: Reason = "length"
        self.stop_length: int | None = None
        self.block = (0, 0)
        self.candidates = torch.zeros_like(self.masked)
        self.num_candidates = 0
        self.age = math.inf
        self._block_step = self._block_steps = 0
        self._next_block()

    @property
    def canvas(self) -> Tensor:
        """int64 `[L]`, a view of the tokens after the prompt."""
        return self.tokens[self.prompt_length :]

    @property
    def done(self) -> bool:
        """Whether nothing is left to reveal."""
        return not self.masked.any()

    @property
    def fraction(self) -> float:
        """Share of the candidates that this step is to reveal, before rounding."""
        return rules.reveal_fraction(self._block_step, self._block_steps, self.request.config.eps)

    @property
    def count(self) -> int:
        """Number of candidates that this step is to reveal."""
        return rules.reveal_count(self.num_candidates, self.fraction)

    @property
    def stale(self) -> bool:
        """Whether this step needs keys and values of the whole row."""
        return self.age >= (self.request.config.refresh_every or math.inf)

    @property
    def query(self) -> tuple[int, int]:
        """First token that this step computes with the cache, and the last one plus one.

        The part begins one token before the block: the shift-by-one predicts the block's first
        token from there.
        """
        end = self.prompt_length + self.length
        if self.stale:
            return 0, end
        first = self.prompt_length + self.block[0] - 1
        if self.request.config.cache == "prefix":
            return first, end
        return first, self.prompt_length + self.block[1]

    def draw(self) -> Tensor:
        """Two uniform numbers for each position, `[L, 2]`: for its token, for its rank."""
        size = len(self.masked)
        if not self.request.config.random:
            return torch.zeros(size, 2)
        return torch.rand(2, size, generator=self.request.generator).T

    def skip_idle_steps(self) -> None:
        """Pass over steps that reveal nothing: their model calls would change nothing."""
        if self.request.config.rule_record.fixed_count:
            while self.count == 0:
                self.draw()
                self._advance()

    def reveal(self, positions: Tensor, tokens: Tensor) -> None:
        """Write tokens at canvas positions and go on to the next step.

        Args:
            positions: int64 `[N]`, canvas positions.
            tokens: int64 `[N]`, what to write there.
        """
        self.canvas[positions] = tokens
        self.masked[positions] = False
        self.reveal_step[positions] = self.step
        self._update_candidates()
        self.age = 1 if self.stale else self.age + 1
        self._advance()
        if self.request.config.drop_after_end:
            self._drop_after_end()
        if self.request.stop is not None:
            self._apply_stop(self.request.stop)
        if not self.num_candidates:
            self._next_block()

    def completion(self) -> Completion:
        """The result; call it once the row is done."""
        canvas, end = self.canvas.tolist(), self._first_end()
        length = len(canvas) if self.stop_length is None else self.stop_length
        if self.stop_length is None and end is not None:
            self.reason = "end"
            length = end + (canvas[end] == self.request.end_token_id)
        return Completion(
            canvas[:length],
            self.canvas.clone(),
            self.reveal_step,
            self.reason,
            self.recorder.trace(),
        )

    def _update_candidates(self) -> None:
        """Find the masked positions of the block."""
        self.candidates = torch.zeros_like(self.masked)
        self.candidates[slice(*self.block)] = self.masked[slice(*self.block)]
        self.num_candidates = int(self.candidates.sum())

    def _advance(self) -> None:
        self.step += 1
        self._block_step += 1

    def _restart_block_steps(self) -> None:
        """Give the block's masked positions steps, as many per token as the config says."""
        config = self.request.config
        self._block_step = 0
        self._block_steps = max(
            1, math.ceil(self.num_candidates * config.steps / config.max_new_tokens)
        )

    def _next_block(self) -> None:
        """Go to the next block with a masked position."""
        masked = self.masked.nonzero()[:, 0].tolist()
        if not masked:
            return
        size = self.request.config.block_length or len(self.masked)
        first = masked[0] - masked[0] % size
        self.block = (first, min(first + size, self.length))
        self.age = math.inf
        self._update_candidates()
        self._restart_block_steps()

    def _first_end(self) -> int | None:
        """Position of the first end token or filler that was revealed, or None."""
        tail = self.canvas[self.first_free :]
        ends = (tail == self.request.end_token_id) | (tail == self.pad)
        revealed_ends = (ends & ~self.masked[self.first_free :]).nonzero()
        return self.first_free + int(revealed_ends[0]) if len(revealed_ends) else None

    def _drop_after_end(self) -> None:
        end = self._first_end()
        if end is not None and end + 1 < self.length:
            self._truncate(end + 1)

    def _truncate(self, length: int) -> None:
        """Write filler from a canvas position on and compute it no more."""
        before = self.num_candidates
        self.canvas[length:] = self.pad
        self.masked[length:] = False
        self.reveal_step[length:] = -1
        self.length = length
        self.block = (self.block[0], min(self.block[1], length))
        self._update_candidates()
        if self.num_candidates != before:
            self._restart_block_steps()

    def _apply_stop(self, stop: Stop) -> None:
        """Ask the request's stop about the text that is written without a gap."""
        masked, end = self.masked.nonzero(), self._first_end()
        written = int(masked[0]) if len(masked) else self.length
        written = written if end is None else min(written, end)
        length = stop(self.canvas[:written].tolist())
        if length is not None:
            self.stop_length, self.reason = length, "stop"
            self._truncate(length)
