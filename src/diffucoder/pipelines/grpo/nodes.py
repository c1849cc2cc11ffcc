"""The node that trains with coupled-GRPO."""

from pathlib import Path

import pandas as pd

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.stage import new_job, train
from diffucoder.errors import BadData
from diffucoder.rl.tables import read_rollouts

WORKER = "diffucoder.training.grpo"
# What is trained on, and what chooses the checkpoint.
SPLITS = ("rl", "validation")


def train_grpo(
    params: GrpoParams, seed: int, instruct: Path, problems: pd.DataFrame
) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Run coupled-GRPO from the instruct model on the problems of split `rl`.

    Args:
        params: The stage's parameters.
        seed: Random seed.
        instruct: Checkpoint directory.
        problems: The problem table; `rl` is trained on, `validation` chooses the checkpoint.

    Returns:
        The finished checkpoint's directory, the metrics table, and the rollouts.

    Raises:
        BadData: If there are no problems to train on or to validate with.
        TrainingFailed: If a process ends badly.
    """
    inputs = {"instruct": instruct, "problems": write_problems(problems, Path(params.work))}
    job = new_job("grpo", params, inputs, params.work, seed)
    metrics = train(job, WORKER, params.training.engine)
    return job.output, metrics, read_rollouts(job.work)


def write_problems(problems: pd.DataFrame, work: Path) -> Path:
    """Write the problems that a job reads; ranks know no catalog.

    A job's identity holds the digest of its inputs. With problems of other splits left out, a
    training is not done again because a held-out problem changed.

    Args:
        problems: The problem table.
        work: Folder of the job; made if need be.

    Returns:
        The Parquet file.

    Raises:
        BadData: If there are no problems to train on or to validate with.
    """
    for split in SPLITS:
        if not (problems["split"] == split).any():
            raise BadData(
                f"problems: none of the {len(problems)} is of split {split!r}; coupled-GRPO needs "
                "some: raise problems.counts or add a problem file of that split, then run "
                "`kedro run --pipeline=ingestion`"
            )
    work.mkdir(parents=True, exist_ok=True)
    table = work / "problems.parquet"
    problems[problems["split"].isin(SPLITS)].to_parquet(table, index=False)
    return table
