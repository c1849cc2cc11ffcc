"""The lab: the processes that measure the estimators, and the tables of what they found."""

import shutil
from pathlib import Path

import pandas as pd

from diffucoder.config.lab import LabParams
from diffucoder.config.labels import reported_name
from diffucoder.engine import launch
from diffucoder.engine.stage import new_job
from diffucoder.errors import BadData, MissingInput
from diffucoder.evaluation.requests import evenly_spaced
from diffucoder.studies.lab import with_intervals
from diffucoder.studies.lab_measurements import make_estimators
from diffucoder.tracking import RunLogger, child_run

WORKER = "diffucoder.studies.lab_worker"
PARTS = "parts"


def measure_estimators(
    lab: LabParams, seed: int, problems: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bias, variance, gradient noise and cost of each estimator, with intervals.

    Args:
        lab: The lab's parameters.
        seed: Random seed of every draw.
        problems: The problem table; those of split `validation` are answered and scored.

    Returns:
        `EstimatorNoise` and `EstimatorCost` of `diffucoder.studies.lab`.

    Raises:
        MissingInput: If there is no checkpoint where the parameters say.
        BadData: If there is no validation problem.
        BadParameters: If an estimator cannot be made.
        TrainingFailed: If a process ends early.
    """
    checkpoint = Path(lab.checkpoint).resolve()
    if not (checkpoint / "config.json").exists():
        raise MissingInput(
            f"lab.checkpoint: no checkpoint at {checkpoint}; make it with `kedro run "
            "--pipeline=instruction` or name another directory"
        )
    asked = evenly_spaced(problems[problems["split"] == "validation"], lab.problems)
    if asked.empty:
        raise BadData("problems: none is of split `validation`, whose completions the lab scores")
    # An estimator that cannot be made stops the lab before anything is sampled.
    make_estimators(lab, mask_token_id=0)
    folder = Path(lab.work).resolve()
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    (folder / PARTS).mkdir(parents=True)
    table = folder / "problems.parquet"
    asked[["problem_id", "prompt"]].to_parquet(table, index=False)
    inputs = {"checkpoint": checkpoint, "problems": table}
    job = new_job("lab", lab, inputs, folder, seed, output=PARTS)
    with (
        child_run("lab", job.parameters) as environment,
        RunLogger(environment) as logger,
    ):
        launch.run(job, WORKER, lab.engine, environment)
        raw, cost = (_read(job.output, kind, reported_names(lab)) for kind in ("noise", "cost"))
        noise = with_intervals(raw, reported_name(lab.baseline), lab.bootstrap, seed)
        logger.log_metrics(0, _metrics(noise))
    return noise, cost


def reported_names(lab: LabParams) -> list[str]:
    """The estimators as tables and figures call them, in the order of the parameters.

    Args:
        lab: The lab's parameters.
    """
    return [reported_name(label) for label in lab.estimators]


def _metrics(noise: pd.DataFrame) -> dict[str, float]:
    return {
        f"{row.level}_{row.measure}/{row.estimator}_{row.forwards}": float(row.mean)
        for row in noise.itertuples()
    }


def _read(parts: Path, kind: str, order: list[str]) -> pd.DataFrame:
    """All ranks' parts of a table, estimators in the order of the parameters."""
    table = pd.concat([pd.read_parquet(part) for part in sorted(parts.glob(f"{kind}-*.parquet"))])
    ranked = table["estimator"].map(order.index)
    return table.iloc[ranked.argsort(kind="stable")].reset_index(drop=True)
