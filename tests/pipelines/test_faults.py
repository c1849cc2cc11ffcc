"""Whatever ends a training stage at whatever moment: run again, it ends as if nothing had been."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from diffucoder.engine.job import Job
from diffucoder.engine.reporter import read_metrics
from diffucoder.io.atomic import is_complete
from diffucoder.rl.tables import read_rollouts

Parameters = Callable[..., dict[str, Any]]
# Of each stage; a moment after its end does not count, so there is always one more.
FAULTS = ["kill", "disk full", "kill", "stop", "kill", "kill", "kill"]
# Holds metrics and logs of these short runs, but no weights.
ROOM = 24_000
ENDED_WELL, STOPPED = 0, 75


def inflict(fault: str, pid: int) -> None:
    """Do to a rank what the world may do to it."""
    match fault:
        case "kill":
            os.kill(pid, signal.SIGKILL)
        case "stop":
            os.kill(pid, signal.SIGTERM)
        case "disk full":
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, hard))


def outcome(job: Job) -> dict[str, Any]:
    """All that a stage leaves behind, but for times."""
    assert is_complete(job.output)
    records = read_metrics(job.work / "metrics.jsonl")
    timed = ("seconds/", "tokens_per_s", "peak_memory")
    return {
        "weights": (job.output / "model.safetensors").read_bytes(),
        "metrics": [
            {name: value for name, value in record.items() if not name.startswith(timed)}
            for record in records
        ],
        "rollouts": read_rollouts(job.work).to_csv() if job.stage == "grpo" else None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["backbone", "adaptation", "instruction", "grpo"])
def test_a_run_cut_at_any_moment_ends_as_an_uninterrupted_one(
    stage: str, stage_job: Callable[..., Job], ranks: Any
) -> None:
    worker = f"diffucoder.training.{stage}"
    whole = stage_job(stage, "whole")
    pids = ranks.start(whole, worker)
    began = time.monotonic()
    assert ranks.wait(*pids) == [ENDED_WELL]
    duration = time.monotonic() - began
    expected = outcome(whole)

    moments = random.Random(stage)
    job = stage_job(stage, "cut")
    faults = list(FAULTS)
    family: set[psutil.Process] = set()
    while faults:
        (pid,) = ranks.start(job, worker)
        time.sleep(duration * moments.uniform(0.05, 0.9))
        family |= set(psutil.Process(pid).children(recursive=True))
        inflict(faults[0], pid)
        (code,) = ranks.wait(pid)
        if code == ENDED_WELL:
            # Too late for a fault: another life.
            assert outcome(job) == expected
            shutil.rmtree(job.work)
            continue
        assert code == {"kill": -signal.SIGKILL, "stop": STOPPED, "disk full": 1}[faults[0]]
        faults.pop(0)
    assert ranks.wait(*ranks.start(job, worker)) == [ENDED_WELL]
    assert outcome(job) == expected
    assert not psutil.wait_procs(family, timeout=10)[1], "a killed rank left processes behind"
