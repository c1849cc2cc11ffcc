"""What tests of several folders need: generators, a rank of its own, changed parameters."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import Reporter


def seeded(*seeds: int) -> list[torch.Generator]:
    """A CPU generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def rank_context(
    job: Job,
    rank: int = 0,
    world_size: int = 1,
    reporter: Reporter | None = None,
    stop_signals: Sequence[int] = (),
) -> Context:
    """A rank's view of a job, on the CPU.

    Without a reporter its metrics go nowhere, and its identity is empty, so that no input of the
    job has to exist.
    """
    identity = job.identity() if reporter else {}
    reporter = reporter or Reporter(job.work, rank=1)
    device = torch.device("cpu")
    return Context(job, identity, rank, world_size, device, reporter, list(stop_signals))


def changed(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of nested parameters with the values at dotted paths replaced.

    Args:
        tree: nested parameters.
        changes: new values by path, such as `{"training.engine.threads": 1}`.

    Raises:
        KeyError: if a path names a mapping that is not there.
    """
    copy = deepcopy(tree)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = copy
        for key in parents:
            place = place[key]
        place[last] = value
    return copy


def source_root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).parents[2]
