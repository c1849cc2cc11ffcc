"""Save and resume: weights, optimizer, step count, and what the stage adds.

Draws need no saving: `Context.generator` makes them anew from step and row numbers. The place in
the data is the step number, since rows are numbered over the whole run.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from diffucoder.engine import checkpoints, zero
from diffucoder.engine.context import Context
from diffucoder.engine.zero import Engine
from diffucoder.errors import BadCheckpoint, TrainingFailed
from diffucoder.io.atomic import atomic_directory

EXTRA_FILE = "extra.pt"
# Folder of a save by another number of ranks while it is resharded for this one.
RESHARDED = "resharded"


def save(
    context: Context, engine: Engine, step: int, extra: dict[str, Any], score: float | None = None
) -> None:
    """Save after `step` finished steps; all ranks call it.

    The save appears whole or not at all, and older ones go only after it: all but
    `save_total_limit`, and with `keep_best` the one with the highest score.

    Args:
        context: this rank.
        engine: what is in training.
        step: finished steps of the stage.
        extra: what else is needed to go on: tensors, numbers, strings, lists and dicts, the same
            on every rank; rank 0's is kept.
        score: how good the model is, the higher the better; None if not measured.

    Raises:
        TrainingFailed: if the disk is full or cannot be written; earlier saves stay.
    """
    target = checkpoints.folder(context.job.work, step)
    try:
        with _shared_directory(context, target) as partial:
            zero.save(engine, partial)
            if context.rank == 0:
                kept = {"stage": extra, "skipped": vars(engine.skipped)}
                torch.save(kept, partial / EXTRA_FILE)
                checkpoints.write_manifest(
                    partial, step, context.world_size, score, context.identity
                )
            context.barrier()
    except (OSError, RuntimeError) as error:
        raise TrainingFailed(_save_failed(context, target, error)) from error
    if context.rank == 0:
        params = engine.training.engine
        checkpoints.prune(context.job.work, params.save_total_limit, params.keep_best)
    context.barrier()


def resume(context: Context, engine: Engine) -> tuple[int, dict[str, Any]]:
    """Load the newest whole save, if there is one; all ranks call it.

    A save of another number of ranks is resharded for this one, through DeepSpeed's universal
    checkpoint; the run then goes on with equal state and sums that round differently.

    Args:
        context: this rank.
        engine: what to restore, in place.

    Returns:
        Finished steps, and the stage's `extra`; `(0, {})` when there is nothing to resume.

    Raises:
        BadParameters: if the newest save belongs to a different job and `on_change` refuses it.
        BadCheckpoint: if the save cannot be read.
    """
    if context.rank == 0:
        checkpoints.check(context.job, engine.training.engine.on_change)
        checkpoints.recover(context.job.work)
    context.barrier()
    newest = checkpoints.latest(context.job.work)
    if newest is None:
        context.reporter.rewind(None)
        return 0, {}
    with _readable(context, engine, newest) as folder:
        zero.load(engine, folder, resharded=folder != newest.path)
    try:
        extra = torch.load(newest.path / EXTRA_FILE, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadCheckpoint(
            f"{newest.path / EXTRA_FILE}: cannot be read ({error!r}); {zero.REMEDY}"
        ) from error
    vars(engine.skipped).update(extra["skipped"])
    context.reporter.rewind(newest.step)
    if context.rank == 0:
        print(f"{context.job.stage}: goes on from step {newest.step}", flush=True)
    return newest.step, extra["stage"]


@contextmanager
def _readable(context: Context, engine: Engine, newest: checkpoints.Save) -> Iterator[Path]:
    """The save's folder, or one with its state laid out for this number of ranks."""
    same = newest.world_size == context.world_size
    if same or engine.training.engine.zero_stage == 0:
        yield newest.path
        return
    resharded = context.job.work / RESHARDED
    if context.rank == 0:
        print(
            f"{context.job.stage}: the save at step {newest.step} was written by "
            f"{newest.world_size} ranks; laying it out for {context.world_size}",
            flush=True,
        )
        with atomic_directory(resharded) as partial:
            zero.reshard(newest.path, partial)
    context.barrier()
    yield resharded
    context.barrier()
    if context.rank == 0:
        shutil.rmtree(resharded)


@contextmanager
def _shared_directory(context: Context, target: Path) -> Iterator[Path]:
    """Rank 0's `atomic_directory`, under the same name on every rank."""
    ours = atomic_directory(target) if context.rank == 0 else nullcontext()
    with ours as partial:
        yield Path(context.broadcast(partial))


def _save_failed(context: Context, target: Path, error: Exception) -> str:
    newest = checkpoints.latest(context.job.work)
    kept = f"the save at step {newest.step} is intact" if newest else "there is no earlier save"
    reason = str(error).splitlines()[0]
    return (
        f"{context.job.stage}: cannot save to {target}: {reason}; {kept}. Make room there and "
        "run again"
    )
