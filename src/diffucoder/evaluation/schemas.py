"""Schemas of the tables of evaluation and analysis, checked at load and save."""

from typing import get_args

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.evaluation.suites import Trust
from diffucoder.evaluation.suites.options import ModelStyle

TRUST = list(get_args(Trust))
STYLES = [*get_args(ModelStyle), "infilling"]


class StrictTable(pa.DataFrameModel):
    """A table that has the columns of its schema and no others."""

    class Config:
        """Options of pandera."""

        strict = True


class Completions(StrictTable):
    """Completions with their verdicts, one per row. `trust`: whether a verdict could be forged.

    `tokens`, `pieces` (each token as text) and `reveal_step` (the step that revealed it, from
    0) run over the completion, its end token included.
    """

    checkpoint: Series[str] = pa.Field(isin=list(CHECKPOINTS))
    suite: Series[str]
    problem_id: Series[str]
    sample: Series[int] = pa.Field(ge=0)
    decoding: Series[str]
    temperature: Series[float] = pa.Field(ge=0)
    steps: Series[int] = pa.Field(ge=1)
    decoding_params: Series[str]
    prompt: Series[str]
    style: Series[str] = pa.Field(isin=STYLES)
    text: Series[str]
    code: Series[str]
    status: Series[str] = pa.Field(str_length={"min_value": 1})
    passed: Series[bool]
    pass_rate: Series[float] = pa.Field(ge=0, le=1)
    trust: Series[str] = pa.Field(isin=TRUST)
    tokens: Series[object]
    pieces: Series[object]
    reveal_step: Series[object]
    length: Series[int] = pa.Field(ge=0)

    @pa.dataframe_check
    @classmethod
    def lists_run_over_the_completion(cls, frame: pd.DataFrame) -> bool:
        """Whether every list has one item per token."""
        lists = ("tokens", "pieces", "reveal_step")
        return all(bool((frame[name].map(len) == frame["length"]).all()) for name in lists)


class Reveals(StrictTable):
    """Reveals of traced decodes, one token per row; empty without a trace.

    `probability` is the token's in the distribution that it was drawn from; `alternatives` are
    the most probable tokens there, as text.
    """

    checkpoint: Series[str] = pa.Field(isin=list(CHECKPOINTS))
    problem_id: Series[str]
    sample: Series[int] = pa.Field(ge=0)
    decoding: Series[str]
    position: Series[int] = pa.Field(ge=0)
    reveal_step: Series[int] = pa.Field(ge=0)
    probability: Series[float] = pa.Field(ge=0, le=1 + 1e-6)
    alternatives: Series[object]
    alternative_probabilities: Series[object]


class _Estimates(StrictTable):
    """Means between 0 and 1 with their intervals."""

    checkpoint: Series[str] = pa.Field(isin=list(CHECKPOINTS))
    temperature: Series[float] = pa.Field(ge=0)
    k: Series[int] = pa.Field(ge=1)
    mean: Series[float] = pa.Field(ge=0, le=1)
    low: Series[float] = pa.Field(ge=0, le=1)
    high: Series[float] = pa.Field(ge=0, le=1)
    n_problems: Series[int] = pa.Field(ge=1)

    @pa.dataframe_check
    @classmethod
    def low_is_not_above_high(cls, frame: pd.DataFrame) -> bool:
        """Whether every interval has its ends in order."""
        return bool((frame["low"] <= frame["high"]).all())


class PassAtK(_Estimates):
    """pass@k of a checkpoint on a suite; `n_samples` is the fewest that a problem has."""

    suite: Series[str]
    trust: Series[str] = pa.Field(isin=TRUST)
    decoding: Series[str]
    steps: Series[int] = pa.Field(ge=1)
    n_samples: Series[int] = pa.Field(ge=1)


class Autoregressiveness(_Estimates):
    """AR-ness@k of a checkpoint at a temperature."""

    kind: Series[str] = pa.Field(isin=["local", "global"])
    n_completions: Series[int] = pa.Field(ge=1)
