"""The stage in the test's own process."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import Reporter, read_metrics
from diffucoder.training.grpo import work as train


@pytest.fixture
def train_here(process_group: None) -> Callable[..., list[dict[str, Any]]]:
    """`train_here(job)` trains and gives the metrics; with a signal, it stops after a step."""

    def run(job: Job, *stop_signals: int) -> list[dict[str, Any]]:
        job.work.mkdir(exist_ok=True)
        reporter = Reporter(job.work, 0)
        here = Context(job, job.identity(), 0, 1, torch.device("cpu"), reporter, list(stop_signals))
        try:
            train(job, here)
        finally:
            reporter.close()
        return read_metrics(job.work / "metrics.jsonl")

    return run
