"""Saves on disk: `work/saves/step-XXXXXXXX`, each whole once its marker is written.

Knows files and JSON only, so that a node can look at saves without importing torch.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffucoder.engine.job import Job
from diffucoder.errors import BadParameters
from diffucoder.io import atomic
from diffucoder.io.atomic import is_complete

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Save:
    """A whole save.

    Attributes:
        path: its folder.
        step: finished steps.
        world_size: ranks that wrote it.
        score: how good the model is, the higher the better; None if not measured.
        identity: `Job.identity` of the job that wrote it.
    """

    path: Path
    step: int
    world_size: int
    score: float | None
    identity: dict[str, Any]


def folder(work: Path, step: int) -> Path:
    """Where the save after `step` finished steps lies.

    Args:
        work: the stage's folder.
        step: finished steps.
    """
    return work / "saves" / f"step-{step:08d}"


def write_manifest(
    path: Path, step: int, world_size: int, score: float | None, identity: Mapping[str, Any]
) -> None:
    """Record beside the state what it belongs to; the fields are those of `Save`.

    Args:
        path: the save's folder.
        step: finished steps.
        world_size: ranks that wrote the save.
        score: how good the model is, the higher the better; None if not measured.
        identity: `Job.identity` of the job that wrote it.
    """
    manifest = {"step": step, "world_size": world_size, "score": score, "identity": identity}
    (path / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def saves_of(work: Path) -> list[Save]:
    """The whole saves under `work`, oldest first."""
    whole = sorted(path for path in (work / "saves").glob("step-*") if is_complete(path))
    return [
        Save(path, **json.loads((path / MANIFEST).read_text(encoding="utf-8"))) for path in whole
    ]


def latest(work: Path) -> Save | None:
    """The newest whole save under `work`."""
    return next(reversed(saves_of(work)), None)


def best(work: Path) -> Save | None:
    """The whole save under `work` with the highest score, of equals the newest."""
    scored = [(save.score, save) for save in saves_of(work) if save.score is not None]
    return max(reversed(scored), key=lambda pair: pair[0], default=(None, None))[1]


def prune(work: Path, keep: int, keep_best: bool) -> None:
    """Delete all but the newest `keep` saves, and the best one if `keep_best`.

    Args:
        work: the stage's folder.
        keep: number of saves to keep, the newest.
        keep_best: whether the save with the highest score is kept as well.
    """
    top = best(work) if keep_best else None
    for save in saves_of(work)[:-keep]:
        if save != top:
            atomic.remove_atomically(save.path)


def delete_all(work: Path) -> None:
    """Delete every save under `work`, whole or not."""
    atomic.remove_atomically(work / "saves")


def recover(work: Path) -> None:
    """Clear what writers that were killed left between the saves under `work`."""
    for leftover in (work / "saves").glob(".step-*"):
        shutil.rmtree(leftover)


def check(job: Job, on_change: str) -> None:
    """Make sure that what lies in `job.work` may be resumed, or clear it away.

    Args:
        job: what is about to run.
        on_change: `refuse` or `restart`, see `EngineParams`.

    Raises:
        BadParameters: if the newest save belongs to a different job and `on_change` refuses.
    """
    save = latest(job.work)
    if save is None:
        return
    changed = _differences(save.identity, json.loads(json.dumps(job.identity())))
    if changed and on_change == "refuse":
        raise BadParameters(
            f"{job.stage}: the save at step {save.step} in {save.path} was made with other "
            f"settings: {'; '.join(changed)}. Put them back to go on from it, set "
            f"engine.on_change to restart, or delete {job.work}"
        )
    if changed:
        delete_all(job.work)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = sorted(before.keys() | now.keys())
    return [
        f"{key} was {before.get(key, 'absent')!r}, is {now.get(key, 'absent')!r}"
        for key in keys
        if before.get(key) != now.get(key)
    ]
