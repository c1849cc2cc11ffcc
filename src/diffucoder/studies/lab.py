"""Tables and figure of the estimators' noise and cost."""

from collections.abc import Sequence

import pandas as pd
import pandera.pandas as pa
import plotly.graph_objects as go
from pandera.typing import Series
from plotly.subplots import make_subplots

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.bootstrap import interval, ratio_interval
from diffucoder.evaluation.palette import SERIES_COLOURS
from diffucoder.evaluation.schemas import StrictTable

KEYS = ["estimator", "forwards_per_call", "forwards", "level", "measure"]
VARIANCE_SHARE = "variance_share"


class EstimatorNoise(StrictTable):
    """How estimates miss their reference, at equal forward passes; one measure per row.

    `level` is `token` (mean over a completion's tokens), `sequence` (their sum) or `gradient`.
    `measure` is `bias` (nats), `variance` and `squared_error` (nats squared), `variance_share`
    (of the baseline's variance), or of gradients `cosine` and `relative_variance`. Intervals are
    over completions, of cosines over draws; a measure of one number has itself for interval.
    """

    estimator: Series[str]
    forwards_per_call: Series[int] = pa.Field(ge=1)
    forwards: Series[int] = pa.Field(ge=1)
    level: Series[str] = pa.Field(isin=["token", "sequence", "gradient"])
    measure: Series[str]
    mean: Series[float]
    low: Series[float]
    high: Series[float]
    n: Series[int] = pa.Field(ge=1)


class EstimatorCost(StrictTable):
    """What one call with its backward pass costs; one estimator per row.

    `activations_mb` is what autograd keeps between forward and backward pass, without weights.
    """

    estimator: Series[str]
    forwards: Series[int] = pa.Field(ge=1)
    completions: Series[int] = pa.Field(ge=1)
    seconds: Series[float] = pa.Field(gt=0)
    activations_mb: Series[float] = pa.Field(gt=0)


def with_intervals(
    raw: pd.DataFrame, baseline: str, bootstrap: BootstrapParams, seed: int
) -> pd.DataFrame:
    """Average over units, with intervals, and give variances as shares of a baseline's.

    Args:
        raw: Table with `estimator`, `forwards_per_call`, `forwards`, `level`, `measure`, `unit`,
            `value`; the units of all estimators are the same completions.
        baseline: The estimator whose variance is 1, at each budget that pays for a call of it.
        bootstrap: How the intervals are computed.
        seed: Random seed of the resampling.

    Returns:
        A table of `EstimatorNoise`.
    """
    rows = []
    options = (bootstrap.resamples, bootstrap.confidence, seed)
    for keys, group in raw.groupby(KEYS, sort=False):
        values = group["value"].to_numpy()
        low, high = interval(values, *options)
        rows.append([*keys, values.mean(), low, high, len(values)])
    variances = raw[raw["measure"] == "variance"]
    base = variances[variances["estimator"] == baseline].set_index(["forwards", "level"])["value"]
    for keys, group in variances.groupby(KEYS, sort=False):
        _, _, forwards, level, _ = keys
        if (forwards, level) not in base.index:
            continue
        own, others = group["value"].to_numpy(), base.loc[(forwards, level)].to_numpy()
        low, high = ratio_interval(own, others, *options)
        share = own.sum() / others.sum()
        rows.append([*keys[:-1], VARIANCE_SHARE, share, low, high, len(own)])
    return pd.DataFrame(rows, columns=[*KEYS, "mean", "low", "high", "n"])


def figure(noise: pd.DataFrame, order: Sequence[str]) -> go.Figure:
    """Draw variances of tokens and completions, and gradients' cosines, against forward passes.

    Args:
        noise: Table of `EstimatorNoise`.
        order: Labels of the estimators, in the order of the legend.

    Returns:
        Three panels with one line per estimator.
    """
    panels = [
        ("variance of a token (nats²)", "token", "variance"),
        ("variance of a completion (nats²)", "sequence", "variance"),
        ("cosine to the reference gradient", "gradient", "cosine"),
    ]
    drawn = make_subplots(rows=1, cols=3, subplot_titles=[title for title, _, _ in panels])
    for column, (_, level, measure) in enumerate(panels, start=1):
        chosen = noise[(noise["level"] == level) & (noise["measure"] == measure)]
        for index, label in enumerate(order):
            rows = chosen[chosen["estimator"] == label].sort_values("forwards")
            drawn.add_scatter(
                x=rows["forwards"],
                y=rows["mean"],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": rows["high"] - rows["mean"],
                    "arrayminus": rows["mean"] - rows["low"],
                },
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": SERIES_COLOURS[index % len(SERIES_COLOURS)], "width": 2},
                # Beyond the colours, shapes tell the estimators apart.
                marker={"symbol": index, "size": 8},
                row=1,
                col=column,
            )
        drawn.update_xaxes(title_text="forward passes", row=1, col=column)
    return drawn.update_layout(
        template="plotly_white",
        height=460,
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
    )
