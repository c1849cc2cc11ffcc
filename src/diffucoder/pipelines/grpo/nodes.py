"""The node that trains with coupled-GRPO."""

from pathlib import Path

import pandas as pd

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.stage import new_job, train
from diffucoder.rl.tables import read_rollouts, write_problems

WORKER = "diffucoder.training.grpo"


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
