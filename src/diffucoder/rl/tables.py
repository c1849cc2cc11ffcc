"""The problems that RL reads, and the rollouts that it leaves."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from diffucoder.errors import BadData

# Folder of the rollouts below a work folder.
ROLLOUTS = "rollouts"
# The splits that are trained on, and that choose the checkpoint.
SPLITS = ("rl", "validation")


class Rollouts(pa.DataFrameModel):
    """Sampled completions with their rewards, one row per completion.

    `reward_*` columns hold the parts of the reward before their weights.

    Attributes:
        step: Number of the step, from 1.
        problem_id: Name of the problem.
        prompt: The user's message.
        completion: The model's answer as text.
        reward: Weighted sum of the reward's parts.
        status: The sandbox's verdict.
        pass_rate: Share of the tests passed.
        advantage: The reward compared with those of its group.
        length: Tokens of the completion, its end token included.
    """

    step: Series[int] = pa.Field(ge=1)
    problem_id: Series[str]
    prompt: Series[str]
    completion: Series[str]
    reward: Series[float]
    status: Series[str]
    pass_rate: Series[float] = pa.Field(ge=0, le=1)
    advantage: Series[float]
    length: Series[int] = pa.Field(ge=0)

    class Config(pa.DataFrameModel.Config):
        """Numbers may come in narrower types."""

        coerce = True


def read_rollouts(work: Path) -> pd.DataFrame:
    """All rollouts below a stage's work folder, in the order of steps and ranks."""
    parts = sorted((work / ROLLOUTS).glob("step-*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


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
        if split not in set(problems["split"]):
            raise BadData(
                f"problems: none of the {len(problems)} is of split {split!r}; coupled-GRPO needs "
                "some: raise problems.counts or add a problem file of that split, then run "
                "`kedro run --pipeline=ingestion`"
            )
    work.mkdir(parents=True, exist_ok=True)
    table = work / "problems.parquet"
    problems[problems["split"].isin(SPLITS)].to_parquet(table, index=False)
    return table
