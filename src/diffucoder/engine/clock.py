"""Time and memory of a step."""

import resource
import sys
import time
from typing import Any, Protocol

import torch

MIB = 2**20


class _Mark(Protocol):
    def seconds_since(self, earlier: Any) -> float: ...


class _Instant:
    """A reading of this process's clock."""

    def __init__(self) -> None:
        self._time = time.monotonic()

    def seconds_since(self, earlier: "_Instant") -> float:
        return self._time - earlier._time


class _Event:
    """A mark in the stream of the current GPU."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)
        self._event.record()

    def seconds_since(self, earlier: "_Event") -> float:
        self._event.synchronize()
        return earlier._event.elapsed_time(self._event) / 1000


class Stopwatch:
    """Adds up the time of named parts of a step.

    On a GPU it marks events in the stream instead of reading a clock, so that the host runs
    ahead of the device as it would without.
    """

    def __init__(self, device: torch.device) -> None:
        self._mark = _Event if device.type == "cuda" else _Instant
        self._names: list[str] = []
        self._marks: list[_Mark] = [self._mark()]

    def lap(self, name: str) -> None:
        """End a part; the time since the end of the one before counts as `name`."""
        self._names.append(name)
        self._marks.append(self._mark())

    def seconds(self) -> dict[str, float]:
        """Seconds by name; on a GPU it waits for the last part to end."""
        totals: dict[str, float] = {}
        for name, begin, end in zip(self._names, self._marks, self._marks[1:], strict=False):
            totals[name] = totals.get(name, 0.0) + end.seconds_since(begin)
        return totals


def peak_memory_mib(device: torch.device) -> float:
    """The most memory so far, in MiB: of a GPU its tensors', else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
