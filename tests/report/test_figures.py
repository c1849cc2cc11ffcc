"""Figures hold the numbers of their tables."""

import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation import measures
from diffucoder.report import figures

KEYS = ["checkpoint", "suite", "decoding", "temperature", "steps"]


def table(**series: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"step": step, "name": name.replace("__", "/"), "value": value}
            for name, values in series.items()
            for step, value in enumerate(values, start=1)
        ]
    )


def test_losses_have_a_panel_a_stage() -> None:
    metrics = {"backbone": table(loss=[3.0, 2.0]), "adaptation": table(loss=[5.0], lr=[1.0])}
    figure = figures.losses(metrics)
    assert [note.text for note in figure.layout.annotations] == [
        "backbone: loss",
        "adaptation: loss",
    ]
    raw = [trace for trace in figure.data if trace.hoverinfo == "skip"]
    assert [list(trace.y) for trace in raw] == [[3.0, 2.0], [5.0]]


def test_rewards_show_every_part_and_leave_out_panels_without_numbers() -> None:
    metrics = table(reward=[1.0, 2.0], reward__tests=[0.5, 1.0], pass_rate=[0.1, 0.2], lr=[1, 1])
    figure = figures.rewards(metrics)
    assert [note.text for note in figure.layout.annotations] == ["reward by part", "pass rate"]
    named = {trace.name for trace in figure.data if trace.name}
    assert named == {"reward", "reward/tests", "pass_rate"}


def test_pass_rates_draw_each_estimate_with_its_interval(
    completions: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    estimates = measures.estimate_pass_at_k(completions, [1], bootstrap, seed=0, keys=KEYS)
    figure = figures.pass_rates(estimates)
    assert [trace.name for trace in figure.data] == ["adapted", "instruct", "coupled-GRPO"]
    grpo = figure.data[2]
    rows = estimates[estimates["checkpoint"] == "grpo"]
    assert list(grpo.x) == list(rows["mean"])
    assert list(grpo.error_x.array) == pytest.approx(list(rows["high"] - rows["mean"]))
    # Points of one line do not lie on each other.
    assert len({trace.y[0] for trace in figure.data}) == 3


def test_temperature_curves_are_ordered_by_temperature(
    sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    full = measures.full_steps(sweep).iloc[::-1]
    estimates = measures.estimate_pass_at_k(full, [1, 2], bootstrap, seed=0, keys=KEYS)
    figure = figures.temperatures(estimates)
    assert [note.text for note in figure.layout.annotations] == ["pass@1", "pass@2"]
    assert all(list(trace.x) == [0.2, 1.0] for trace in figure.data)


def test_ar_figure_has_both_kinds(sweep: pd.DataFrame, bootstrap: BootstrapParams) -> None:
    values = measures.completion_orders(measures.full_steps(sweep), [1, 2])
    figure = figures.autoregressiveness(measures.summarise_orders(values, bootstrap, seed=0))
    assert len(figure.data) == 2 * 2 * 2  # kinds, k, checkpoints
    assert {trace.line.dash for trace in figure.data} == {"solid", "dash"}
