"""Seconds and memory get into the summary, beside what the analysis wrote."""

import subprocess
import sys
from typing import Any

import psutil

from diffucoder.hooks.usage import PeakMemory, resident_bytes, stage_seconds


def summary(project: Any) -> dict[str, Any]:
    return project.read("08_reporting/summary.json")


def test_summary_keeps_the_analysis_and_gains_usage(project: Any) -> None:
    project.run()
    found = summary(project)
    assert found["total"] == 12.0
    assert set(found["seconds"]) == {"first", "second"}
    assert all(0 <= seconds < 60 for seconds in found["seconds"].values())
    assert 20 < found["peak_rss_mb"] < 100_000


def test_partial_run_keeps_the_seconds_of_the_others(project: Any) -> None:
    project.run()
    before = summary(project)["seconds"]["first"]
    project.run(pipeline_names=["second"])
    assert summary(project)["seconds"]["first"] == before


def test_skipped_run_leaves_the_summary_alone(project: Any) -> None:
    project.run()
    before = summary(project)
    project.run(only_missing_outputs=True)
    assert summary(project) == before


def test_memory_of_descendants_counts() -> None:
    program = "held = bytearray(80_000_000); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alone = psutil.Process().memory_info().rss
        assert resident_bytes(psutil.Process()) > alone + 70_000_000
        memory = PeakMemory()
        memory.stop()
        assert memory.peak_bytes > alone + 70_000_000
        child.communicate("\n")


def test_stage_seconds_sums_nodes(project: Any) -> None:
    project.run(pipeline_names=["first"])
    spans = {
        "first.make": (0.0, 1.0),
        "second.scale": (1.0, 3.5),
        "second.summarise": (3.5, 4.0),
    }
    assert stage_seconds(spans) == {"first": 1.0, "second": 3.0}
