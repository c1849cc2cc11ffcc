"""Schema of the rollouts, and reading them."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

# Folder of the rollouts below a work folder.
ROLLOUTS = "rollouts"


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
