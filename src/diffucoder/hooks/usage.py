"""Seconds per pipeline and peak memory, added to the run's summary."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from diffucoder.hooks.graph import stage_of_node
from diffucoder.hooks.project import REPORTING, data_root
from diffucoder.hooks.records import write_json

# Short enough to catch the peak of a step, long enough to cost nothing.
SECONDS_BETWEEN_SAMPLES = 0.5
BYTES_PER_MB = 2**20


class PeakMemory:
    """Samples the resident memory of this process and all its descendants in a thread.

    Pages that processes share are counted in each, so the figure is an upper bound.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._process))
            if self._stopped.wait(SECONDS_BETWEEN_SAMPLES):
                return


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its descendants.

    Args:
        process: The process.

    Returns:
        Bytes; pages that processes share are counted in each.
    """
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            # It ended between the two calls.
            continue
    return total


class UsageHook:
    """Writes `seconds.<pipeline>` and `peak_rss_mb` into `08_reporting/summary.json`.

    Seconds of pipelines that this run left out are kept from the summary that was there
    before it, also when the run rewrote the file; the peak is that of this run alone.
    """

    def __init__(self) -> None:
        self._summary = Path()
        self._seconds_before: dict[str, float] = {}
        self._spans: dict[str, tuple[float, float]] = {}
        self._memory: PeakMemory | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the summary is kept."""
        self._summary = data_root(context) / REPORTING / "summary.json"

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Start to measure."""
        self._stop()
        self._seconds_before = read_summary(self._summary).get("seconds", {})
        self._spans.clear()
        self._memory = PeakMemory()

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """A node's time begins with its first input."""
        self._mark(node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """A node may have no input."""
        self._mark(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """A node may have no output."""
        self._mark(node)

    @hook_impl
    def after_dataset_saved(self, node: Node) -> None:
        """Saving belongs to the node: some outputs are streams that are worked off there."""
        self._mark(node)

    # Before the tracking hook, which logs the summary.
    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """Complete the summary, unless every node was skipped."""
        peak = self._stop()
        if self._spans:
            summary = read_summary(self._summary)
            summary["seconds"] = self._seconds_before | stage_seconds(self._spans)
            summary["peak_rss_mb"] = round(peak / BYTES_PER_MB)
            write_json(self._summary, summary)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Stop to measure."""
        self._stop()

    def _mark(self, node: Node) -> None:
        now = time.monotonic()
        self._spans[node.name] = (self._spans.get(node.name, (now, now))[0], now)

    def _stop(self) -> int:
        if self._memory is None:
            return 0
        self._memory.stop()
        peak, self._memory = self._memory.peak_bytes, None
        return peak


def stage_seconds(spans: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Sum the nodes' times over each stage.

    Args:
        spans: Begin and end of each node, in seconds of one clock.

    Returns:
        Seconds of each stage.
    """
    seconds: dict[str, float] = {}
    for node, (begin, end) in spans.items():
        stage = stage_of_node(node)
        seconds[stage] = round(seconds.get(stage, 0.0) + end - begin, 2)
    return seconds


def read_summary(path: Path) -> dict[str, Any]:
    """The summary at `path`; empty if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
