"""The node that improves the instruct model against unit tests."""

from pathlib import Path

import pandas as pd

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.stage import new_job, train
from diffucoder.errors import BadData

WORKER = "diffucoder.training.grpo"


def improve(
    params: GrpoParams, seed: int, instruct: Path, problems: pd.DataFrame
) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Run coupled-GRPO from the instruct model on the problems of split `rl`.

    Args:
        params: the stage's parameters.
        seed: of every draw.
        instruct: checkpoint directory.
        problems: the problem table; `rl` is trained on, `validation` chooses the checkpoint.

    Returns:
        The finished checkpoint's directory, the metrics table, and the rollouts.

    Raises:
        BadData: if there are no problems to train on or to validate with.
    """
    for split in ("rl", "validation"):
        if not (problems["split"] == split).any():
            raise BadData(
                f"problems: none of the {len(problems)} is of split {split!r}; coupled-GRPO needs "
                "some: raise problems.counts or add a problem file of that split, then run "
                "`kedro run --pipeline=ingestion`"
            )
    work = Path(params.work)
    work.mkdir(parents=True, exist_ok=True)
    table = work / "problems.parquet"
    problems[problems["split"].isin(["rl", "validation"])].to_parquet(table, index=False)
    job = new_job("grpo", params, {"instruct": instruct, "problems": table}, work, seed)
    metrics = train(job, WORKER, params.training.engine)
    return job.output, metrics, read_rollouts(work)


def read_rollouts(work: Path) -> pd.DataFrame:
    """All rollouts below a work folder, in the order of steps and ranks."""
    parts = sorted((work / "rollouts").glob("step-*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
