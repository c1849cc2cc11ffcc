"""Plotly figures of the report: each a function from tables to one figure.

A marker's symbol says the same as its colour.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.evaluation.measures import full_steps
from diffucoder.evaluation.palette import SERIES_COLOURS
from diffucoder.evaluation.suites import suite_label

DASHES = ("solid", "dash", "dot", "dashdot")

# A curve is drawn over its raw values as the mean of this share of its points.
SMOOTHING_SHARE = 0.04


def draw_all(
    metrics: Mapping[str, pd.DataFrame],
    pass_at_k: pd.DataFrame,
    sweep_pass_at_k: pd.DataFrame,
    orders: pd.DataFrame,
) -> dict[str, go.Figure]:
    """Draw every figure that the report always has.

    Args:
        metrics: Metrics of each training stage, by name; `grpo` is the RL stage.
        pass_at_k: pass@k of the evaluation stage.
        sweep_pass_at_k: pass@k of the temperature sweep.
        orders: AR-ness of the temperature sweep.

    Returns:
        `losses`, `rewards`, `pass_rates`, `temperatures` and `autoregressiveness`.
    """
    return {
        "losses": losses({stage: table for stage, table in metrics.items() if stage != "grpo"}),
        "rewards": rewards(metrics["grpo"]),
        "pass_rates": pass_rates(pass_at_k),
        "temperatures": temperatures(full_steps(sweep_pass_at_k)),
        "autoregressiveness": autoregressiveness(orders),
    }


def losses(metrics: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Training loss of each stage against its step.

    Args:
        metrics: For each stage, a table of `step`, `name`, `value` with the name `loss` in it.
    """
    figure = _panels([f"{stage}: loss" for stage in metrics])
    for column, (stage, table) in enumerate(metrics.items(), start=1):
        _curve(figure, column, table, "loss", stage, SERIES_COLOURS[1])
        figure.update_xaxes(title_text="step", row=1, col=column)
    return figure.update_layout(showlegend=False)


def rewards(metrics: pd.DataFrame) -> go.Figure:
    """Rewards by part, pass rates, KL and clip ratio against the step of RL.

    Args:
        metrics: Table of `step`, `name`, `value`; rewards are named `reward` or `reward/<part>`,
            pass rates have `pass_rate` in their names.
    """
    names = sorted(metrics["name"].unique())
    panels = {
        "reward by part": [name for name in names if name.split("/")[0].startswith("reward")],
        "pass rate": [name for name in names if "pass_rate" in name],
        "KL to the reference (nats per token)": [name for name in names if name == "kl"],
        "share of tokens clipped": [name for name in names if name == "clip_ratio"],
    }
    panels = {title: members for title, members in panels.items() if members}
    figure = _panels(list(panels))
    colours = cycle(SERIES_COLOURS)
    for column, members in enumerate(panels.values(), start=1):
        for name in members:
            _curve(figure, column, metrics, name, name, next(colours), legend=len(members) > 1)
        figure.update_xaxes(title_text="step", row=1, col=column)
    return figure


def pass_rates(pass_at_k: pd.DataFrame) -> go.Figure:
    """Estimates with their intervals: one line per suite, decoding and k, one point per checkpoint.

    Args:
        pass_at_k: Table of `diffucoder.evaluation.schemas.PassAtK`.
    """
    keyed = pass_at_k.assign(measure=[_measure(row) for row in pass_at_k.itertuples()])
    measures = list(dict.fromkeys(keyed["measure"]))
    checkpoints = [name for name in CHECKPOINTS if name in set(keyed["checkpoint"])]
    figure = go.Figure()
    for index, checkpoint in enumerate(checkpoints):
        rows = keyed[keyed["checkpoint"] == checkpoint]
        # Points of one line are set a little apart so that no interval covers another.
        shift = (index - (len(checkpoints) - 1) / 2) * 0.22
        figure.add_scatter(
            x=rows["mean"],
            y=[measures.index(measure) - shift for measure in rows["measure"]],
            error_x=_bars(rows),
            customdata=rows[["low", "high", "n_problems", "n_samples"]],
            text=rows["measure"],
            hovertemplate="%{text}: %{x:.1%} [%{customdata[0]:.1%}, %{customdata[1]:.1%}]"
            "<br>%{customdata[2]} problems, %{customdata[3]} samples each",
            name=CHECKPOINTS[checkpoint].title,
            mode="markers",
            marker=_marker(checkpoint),
        )
    figure.update_yaxes(
        tickvals=list(range(len(measures))),
        ticktext=measures,
        range=[len(measures) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        automargin=True,
    )
    # A little below 0, where a marker would else be cut in half.
    figure.update_xaxes(tickformat=".0%", range=[-0.02, max(0.2, pass_at_k["high"].max() + 0.05)])
    return _finish(figure, height=110 + 56 * len(measures))


def temperatures(pass_at_k: pd.DataFrame) -> go.Figure:
    """pass@k against temperature, one panel per k, one curve per checkpoint.

    Args:
        pass_at_k: Table of `checkpoint`, `temperature`, `k`, `mean`, `low`, `high`.
    """
    ks = sorted(pass_at_k["k"].unique())
    figure = _panels([f"pass@{k}" for k in ks])
    for column, k in enumerate(ks, start=1):
        rows = pass_at_k[pass_at_k["k"] == k]
        for checkpoint, group in rows.groupby("checkpoint", sort=False):
            _against_temperature(figure, column, group, str(checkpoint))
        figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=1, col=column)
    return figure


def autoregressiveness(measured: pd.DataFrame) -> go.Figure:
    """Local and global AR-ness against temperature; the dash of a line tells k.

    Args:
        measured: Table of `checkpoint`, `temperature`, `kind`, `k`, `mean`, `low`, `high`.
    """
    kinds = [kind for kind in ("local", "global") if kind in set(measured["kind"])]
    figure = _panels([f"{kind} AR-ness@k" for kind in kinds])
    for column, kind in enumerate(kinds, start=1):
        rows = measured[measured["kind"] == kind]
        for index, k in enumerate(sorted(rows["k"].unique())):
            for checkpoint, group in rows[rows["k"] == k].groupby("checkpoint", sort=False):
                _against_temperature(
                    figure, column, group, str(checkpoint), f", k = {k}", DASHES[index % 4]
                )
        figure.update_yaxes(range=[0, 1.03], row=1, col=column)
    return figure


def _measure(row: object) -> str:
    return f"{suite_label(row.suite)}, {row.decoding}, pass@{row.k}"


def _panels(titles: Sequence[str]) -> go.Figure:
    gap = 0.25 / max(len(titles), 1)
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=gap)
    figure.update_annotations(font_size=13)
    return _finish(figure, height=380)


def _finish(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 48, "r": 16, "t": 40, "b": 48},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
        font={"size": 12},
    )
    return figure


def _curve(
    figure: go.Figure,
    column: int,
    metrics: pd.DataFrame,
    name: str,
    label: str,
    colour: str,
    legend: bool = False,
) -> None:
    rows = metrics[metrics["name"] == name].sort_values("step")
    window = max(1, round(len(rows) * SMOOTHING_SHARE))
    figure.add_scatter(
        x=rows["step"],
        y=rows["value"],
        mode="lines",
        line={"color": colour, "width": 1},
        opacity=0.3,
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=column,
    )
    figure.add_scatter(
        x=rows["step"],
        y=rows["value"].rolling(window, min_periods=1, center=True).mean(),
        mode="lines",
        line={"color": colour, "width": 2},
        name=label,
        showlegend=legend,
        row=1,
        col=column,
    )


def _against_temperature(
    figure: go.Figure,
    column: int,
    rows: pd.DataFrame,
    checkpoint: str,
    suffix: str = "",
    dash: str = "solid",
) -> None:
    rows = rows.sort_values("temperature")
    figure.add_scatter(
        x=rows["temperature"],
        y=rows["mean"],
        error_y=_bars(rows),
        mode="lines+markers",
        line={"color": CHECKPOINTS[checkpoint].colour, "dash": dash, "width": 2},
        marker=_marker(checkpoint),
        name=CHECKPOINTS[checkpoint].title + suffix,
        legendgroup=checkpoint + suffix,
        showlegend=column == 1,
        row=1,
        col=column,
    )
    figure.update_xaxes(title_text="temperature", row=1, col=column)


def _bars(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows["high"] - rows["mean"],
        "arrayminus": rows["mean"] - rows["low"],
        "thickness": 1.5,
        "width": 4,
    }


def _marker(checkpoint: str) -> dict[str, object]:
    shown = CHECKPOINTS[checkpoint]
    return {"color": shown.colour, "symbol": shown.symbol, "size": 9}
