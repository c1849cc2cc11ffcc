"""Text that grows from left to right, read off a canvas that does not."""

from collections.abc import Sequence

from diffucoder.decoding import Completion, Step
from diffucoder.decoding.stops import Decode, before_strings

# What a decoder writes for bytes that are no character yet.
_PARTIAL = "\ufffd"


class Writer:
    """What may be shown of a row so far: settled from the start, without a gap.

    Args:
        length: canvas positions that are to be written; given ones after them are not shown.
        decode: from tokens to text.
        ends: tokens that end a text, the filler among them.
        stops: strings before which the text ends.
    """

    def __init__(
        self, length: int, decode: Decode, ends: Sequence[int], stops: Sequence[str]
    ) -> None:
        self.decode, self.ends, self.stops = decode, frozenset(ends), tuple(stops)
        self.tokens: list[int | None] = [None] * length
        self.settled = 0
        self.shown = ""

    def take(self, step: Step) -> str:
        """What one step adds to the text; empty for most steps that reveal things further on."""
        for place, token in zip(step.places, step.tokens, strict=True):
            if place < len(self.tokens):
                self.tokens[place] = token
        if step.completion is not None:
            return self._show(self._whole(step.completion))
        before = self.settled
        while self.settled < len(self.tokens) and self._written(self.settled):
            self.settled += 1
        if self.settled == before:
            return ""
        return self._show(self._certain(self.decode(self.tokens[: self.settled])))

    def _written(self, place: int) -> bool:
        token = self.tokens[place]
        return token is not None and token not in self.ends

    def _whole(self, completion: Completion) -> str:
        tokens = completion.tokens[: len(self.tokens)]
        end = next((at for at, token in enumerate(tokens) if token in self.ends), len(tokens))
        self.settled = end
        return before_strings(self.decode(tokens[:end]), self.stops)

    def _certain(self, text: str) -> str:
        """Without what later tokens may still turn into a character or a stop string."""
        text = before_strings(text.rstrip(_PARTIAL), self.stops)
        held = max(
            (
                size
                for stop in self.stops
                for size in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:size])
            ),
            default=0,
        )
        return text[: len(text) - held]

    def _show(self, text: str) -> str:
        new = text[len(self.shown) :] if text.startswith(self.shown) else ""
        self.shown += new
        return new
