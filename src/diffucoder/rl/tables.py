"""Schema of the rollouts."""

import pandera.pandas as pa
from pandera.typing import Series


class Rollouts(pa.DataFrameModel):
    """Sampled completions with their rewards; one row a completion.

    `reward_*` columns hold the parts of the reward before their weights.
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

    class Config:
        coerce = True
