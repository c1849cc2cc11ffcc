"""Progress of long loops: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

# Often enough to see that the loop lives, seldom enough to keep a log readable.
SECONDS_BETWEEN_LINES = 5.0


def duration(seconds: float) -> str:
    """Format seconds as `45 s`, `3 min 05 s` or `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Meter:
    """Counts finished items and prints rate and time left.

    On a terminal the line is rewritten in place; elsewhere a line is printed at most
    every `SECONDS_BETWEEN_LINES`, and one when the loop ends.
    """

    def __init__(self, label: str, total: int | None, start: int = 0) -> None:
        self.label, self.total, self.start, self.done = label, total, start, start
        self.began = self.printed = time.monotonic()
        self.live = sys.stderr.isatty()

    def line(self, note: str = "") -> str:
        """The current state as one line of text."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        rate = (self.done - self.start) / elapsed
        text = f"{self.label}: {self.done}" + (f"/{self.total}" if self.total else "")
        text += f", {rate:.1f}/s"
        if self.total and rate > 0:
            text += f", {duration((self.total - self.done) / rate)} left"
        return text + (f", {note}" if note else "")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items and print if it is time to."""
        self.done += count
        now = time.monotonic()
        if now - self.printed >= (0.2 if self.live else SECONDS_BETWEEN_LINES):
            self.printed = now
            self._print(self.line(note), end="" if self.live else "\n")

    def close(self, note: str = "") -> None:
        """Print the final line."""
        elapsed = duration(time.monotonic() - self.began)
        text = f"{self.label}: {self.done} done in {elapsed}" + (f", {note}" if note else "")
        self._print(text, end="\n")

    def _print(self, text: str, end: str) -> None:
        prefix = "\r\x1b[K" if self.live else ""
        print(f"{prefix}{text}", end=end, file=sys.stderr, flush=True)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` unchanged while showing how many are done, the rate and the time left."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    meter = Meter(label, total)
    for item in items:
        yield item
        meter.advance()
    meter.close()
