"""Tables and figure of the ablation: cells compared over seeds."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import plotly.graph_objects as go
from numpy.typing import NDArray
from pandera.typing import Series

from diffucoder.config.ablation import BUDGETS, EQUAL_STEPS, START
from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.bootstrap import cluster_interval, interval
from diffucoder.evaluation.palette import SERIES_COLOURS
from diffucoder.evaluation.schemas import StrictTable

REWARD = "reward/total"


class Curves(StrictTable):
    """Metrics of every training; `forwards` counts forward passes per completion up to the step."""

    cell: Series[str]
    seed: Series[int]
    budget: Series[str] = pa.Field(isin=BUDGETS)
    step: Series[int] = pa.Field(ge=0)
    name: Series[str]
    value: Series[float]
    forwards: Series[int] = pa.Field(ge=0)


class PassRates(StrictTable):
    """Share of a held-out problem's completions that pass, for every training."""

    cell: Series[str]
    seed: Series[int]
    budget: Series[str] = pa.Field(isin=BUDGETS)
    problem_id: Series[str]
    passed: Series[float] = pa.Field(ge=0, le=1)


class Summary(StrictTable):
    """Each cell's pass@1 and reward.

    `measure` is `pass@1`, `pass@1 gain` (over the common starting point, problem by problem) or
    `reward`. `budget` is what the cells that are compared have in common: optimizer steps, or
    forward passes per completion.
    """

    cell: Series[str]
    measure: Series[str]
    budget: Series[str] = pa.Field(isin=BUDGETS)
    mean: Series[float]
    low: Series[float]
    high: Series[float]
    seeds: Series[int] = pa.Field(ge=1)


def summary(
    curves: pd.DataFrame,
    passes: pd.DataFrame,
    window: int,
    bootstrap: BootstrapParams,
    seed: int,
) -> pd.DataFrame:
    """Summarise all cells, the starting point first.

    Each training has its own schedule: those at equal compute were planned for fewer steps. Rewards
    are means over the last `window` steps.

    Args:
        curves: Table of `Curves`.
        passes: Table of `PassRates`, with the label `start` for the starting point.
        window: Number of steps over which rewards are averaged.
        bootstrap: How the intervals are computed: over seeds and problems, of rewards over seeds.
        seed: Random seed of the resampling.

    Returns:
        A table of `Summary`.
    """
    options = (bootstrap.resamples, bootstrap.confidence, seed)
    rows = []
    cells = [START, *(name for name in passes["cell"].unique() if name != START)]
    for budget in BUDGETS:
        asked = passes[passes["budget"] == budget]
        start = _by_seed(asked, START)
        for cell in cells:
            table = _by_seed(asked, cell)
            ends = cluster_interval(table, *options)
            rows.append([cell, "pass@1", budget, table.mean(), *ends, len(table)])
            if cell != START:
                gain = table - start
                ends = cluster_interval(gain, *options)
                rows.append([cell, "pass@1 gain", budget, gain.mean(), *ends, len(gain)])
        rewards = curves[(curves["name"] == REWARD) & (curves["budget"] == budget)]
        for cell, group in rewards.groupby("cell", sort=False):
            tails = [_tail(own, window) for _, own in group.groupby("seed")]
            ends = interval(tails, *options)
            rows.append([cell, "reward", budget, float(np.mean(tails)), *ends, len(tails)])
    return pd.DataFrame(rows, columns=["cell", "measure", "budget", "mean", "low", "high", "seeds"])


def figure(curves: pd.DataFrame, window: int, bootstrap: BootstrapParams, seed: int) -> go.Figure:
    """Draw the reward against forward passes per completion, mean over seeds with its interval.

    Args:
        curves: Table of `Curves`.
        window: Number of steps over which rewards are averaged.
        bootstrap: How the intervals over seeds are computed.
        seed: Random seed of the resampling.

    Returns:
        One line with a band per cell.
    """
    drawn = go.Figure()
    rewards = curves[(curves["name"] == REWARD) & (curves["budget"] == EQUAL_STEPS)]
    for index, (cell, group) in enumerate(rewards.groupby("cell", sort=False)):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        wide = group.pivot(index="forwards", columns="seed", values="value").sort_index()
        smooth = wide.rolling(window, min_periods=1).mean()
        ends = [
            interval(row.dropna().to_numpy(), bootstrap.resamples, bootstrap.confidence, seed)
            for _, row in smooth.iterrows()
        ]
        low, high = ([end[side] for end in ends] for side in (0, 1))
        x = smooth.index.tolist()
        drawn.add_scatter(
            x=x + x[::-1],
            y=high + low[::-1],
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            legendgroup=cell,
            showlegend=False,
        )
        drawn.add_scatter(
            x=x,
            y=smooth.mean(axis=1).tolist(),
            mode="lines",
            line={"color": colour, "width": 2},
            name=cell,
            legendgroup=cell,
        )
    drawn.update_xaxes(title_text="forward passes per completion (sampling and scoring)")
    drawn.update_yaxes(title_text="reward")
    return drawn.update_layout(template="plotly_white", height=420)


def _by_seed(passes: pd.DataFrame, cell: str) -> NDArray[np.float64]:
    """[seeds, problems] of a cell; problems in one order for all cells."""
    rows = passes[passes["cell"] == cell]
    return rows.pivot(index="seed", columns="problem_id", values="passed").to_numpy()


def _tail(curve: pd.DataFrame, window: int) -> float:
    return float(curve.sort_values("step")["value"].tail(window).mean())
