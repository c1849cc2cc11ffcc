"""What a node does around its worker: one job, one child run in MLflow, one table of metrics."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from diffucoder.config.base import Params
from diffucoder.config.engine import EngineParams
from diffucoder.engine import checkpoints, launch
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import metrics_table
from diffucoder.io.atomic import is_complete
from diffucoder.tracking import child_run

DONE_MARKER = "made"
MODEL = "model"


def new_job(
    stage: str,
    parameters: Params,
    inputs: Mapping[str, Path],
    work: str | Path,
    seed: int,
    output: str = MODEL,
) -> Job:
    """Describe a stage's work; paths become absolute, since ranks may start elsewhere.

    Args:
        stage: Name of the stage or phase.
        parameters: What the worker reads.
        inputs: Files and folders that the worker reads, by name.
        work: Folder of the stage.
        seed: Random seed of the stage.
        output: Name of the folder below `work` that the worker writes its result to.

    Returns:
        The job, which is not saved yet.
    """
    folder = Path(work).resolve()
    return Job(
        stage=stage,
        parameters=parameters.model_dump(mode="json"),
        inputs={name: Path(path).resolve() for name, path in inputs.items()},
        work=folder,
        output=folder / output,
        seed=seed,
    )


def train(job: Job, worker: str, engine: EngineParams, name: str | None = None) -> pd.DataFrame:
    """Do a job in processes of its own, as a child of the active MLflow run.

    A job that ended well and whose model still lies in its work folder, because what came after
    it failed, is not done again.

    Args:
        job: What to do; its output is a checkpoint's directory.
        worker: Import path of a module with `work(job, context)`.
        engine: How many processes, and how they are started.
        name: Name of the child run; the job's stage if not given.

    Returns:
        The metrics: `step`, `name`, `value`, one row per number.

    Raises:
        TrainingFailed: if a process ended badly.
    """
    made = job.work / DONE_MARKER
    fingerprint = job.fingerprint()
    if not (is_complete(job.output) and made.exists() and made.read_text() == fingerprint):
        made.unlink(missing_ok=True)
        with child_run(name or job.stage, job.parameters) as environment:
            launch.run(job, worker, engine, environment)
        made.write_text(fingerprint)
    # Not before the line above: until then a kill must leave something to go on from.
    checkpoints.delete_all(job.work)
    return metrics_table(job.work)


def output_was_moved(work: Path) -> bool:
    """Whether the model that a job made in `work` has been moved to where the catalog keeps it."""
    return (work / DONE_MARKER).exists() and not is_complete(work / MODEL)
