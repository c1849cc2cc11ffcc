"""Save and resume: weights, optimizer, step count, and what the stage adds."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from diffucoder.engine import deepspeed, saves
from diffucoder.engine.context import Context
from diffucoder.engine.deepspeed import Engine
from diffucoder.errors import BadCheckpoint, TrainingFailed


def save(context: Context, engine: Engine, step: int, extra: dict[str, Any]) -> None:
    """Save after `step` finished steps; all ranks call it.

    The save appears whole or not at all, and older ones beyond `keep_last` go only after it.
    Draws need no saving: `Context.generator` makes them anew from step and row numbers.

    Args:
        context: this rank.
        engine: what is in training.
        step: finished steps of the stage.
        extra: what else this rank needs to go on: tensors, numbers, strings, lists and dicts.

    Raises:
        TrainingFailed: if the disk is full or cannot be written; earlier saves stay.
    """
    target = saves.folder(context.job.work, step)
    try:
        with _shared_directory(context, target) as partial:
            deepspeed.save(engine, partial)
            torch.save(extra, partial / f"extra-{context.rank}.pt")
            if context.rank == 0:
                saves.write_manifest(partial, step, context.world_size, context.identity)
            context.barrier()
    except (OSError, RuntimeError) as error:
        raise TrainingFailed(_save_failed(context, target, error)) from error
    if context.rank == 0:
        saves.prune(context.job.work, engine.training.engine.keep_last)
    context.barrier()


def resume(context: Context, engine: Engine) -> tuple[int, dict[str, Any]]:
    """Load the newest whole save, if there is one; all ranks call it.

    Returns:
        Finished steps, and this rank's `extra`; `(0, {})` when there is nothing to resume.

    Raises:
        BadCheckpoint: if the save cannot be read or was written by another number of ranks.
    """
    newest = saves.latest(context.job.work)
    if newest is None:
        context.reporter.rewind(0)
        return 0, {}
    if newest.world_size != context.world_size:
        raise BadCheckpoint(
            f"{newest.path}: written by {newest.world_size} ranks, cannot go on with "
            f"{context.world_size}; run with {newest.world_size}, or delete {context.job.work}"
        )
    deepspeed.load(engine, newest.path)
    extra = torch.load(newest.path / f"extra-{context.rank}.pt", weights_only=True)
    context.reporter.rewind(newest.step)
    if context.rank == 0:
        print(f"{context.job.stage}: goes on from step {newest.step}", flush=True)
    return newest.step, extra


@contextmanager
def _shared_directory(context: Context, target: Path) -> Iterator[Path]:
    """Rank 0's `atomic_directory`, under the same name on every rank."""
    ours = saves.atomic_directory(target) if context.rank == 0 else nullcontext()
    with ours as partial:
        yield Path(context.broadcast(partial))


def _save_failed(context: Context, target: Path, error: Exception) -> str:
    newest = saves.latest(context.job.work)
    kept = f"the save at step {newest.step} is intact" if newest else "there is no earlier save"
    reason = str(error).splitlines()[0]
    return (
        f"{context.job.stage}: cannot save to {target}: {reason}; {kept}. Make room there and "
        "run again"
    )
