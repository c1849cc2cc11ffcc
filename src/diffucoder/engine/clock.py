"""Where a step's time goes, and how much memory it took."""

import resource
import sys
import time

import torch

MIB = 2**20


class Stopwatch:
    """Adds up the time of named parts of a step.

    On a GPU it marks events in the stream instead of reading a clock, so that the host runs
    ahead of the device as it would without.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._names: list[str] = []
        self._marks = [self._mark()]

    def lap(self, name: str) -> None:
        """End a part; the time since the end of the one before counts as `name`."""
        self._names.append(name)
        self._marks.append(self._mark())

    def seconds(self) -> dict[str, float]:
        """Seconds by name; on a GPU it waits for the last part to end."""
        if self._cuda:
            self._marks[-1].synchronize()
        totals: dict[str, float] = {}
        for name, begin, end in zip(self._names, self._marks, self._marks[1:], strict=False):
            spent = begin.elapsed_time(end) / 1000 if self._cuda else end - begin
            totals[name] = totals.get(name, 0.0) + spent
        return totals

    def _mark(self) -> "torch.cuda.Event | float":
        if not self._cuda:
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def peak_memory_mib(device: torch.device) -> float:
    """The most memory so far, in MiB: of a GPU its tensors', else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
