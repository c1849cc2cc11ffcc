"""Analysis's nodes: the temperature sweep, its measures, figures, the report."""

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from diffucoder.config.analysis import AnalysisParams
from diffucoder.report.inputs import FIGURES, RunTables, Studies


def sweep_temperature(
    problems: pd.DataFrame, analysis: AnalysisParams, seed: int, **checkpoints: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode at several temperatures: see `diffucoder.evaluation.sweep.sweep_temperature`."""
    from diffucoder.evaluation import sweep

    return sweep.sweep_temperature(problems, checkpoints, analysis, seed)


def measure_temperature_sweep(
    temperature_completions: pd.DataFrame, analysis: AnalysisParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimate pass@k and AR-ness: see `diffucoder.evaluation.sweep.measure_sweep`."""
    from diffucoder.evaluation import sweep

    return sweep.measure_sweep(temperature_completions, analysis, seed)


def plot_figures(
    pass_at_k: pd.DataFrame,
    temperature_pass_at_k: pd.DataFrame,
    autoregressiveness: pd.DataFrame,
    **metrics: pd.DataFrame,
) -> "dict[str, go.Figure]":
    """Draw the report's figures: see `diffucoder.report.figures.draw_all`.

    Args:
        pass_at_k: pass@k of the evaluation stage.
        temperature_pass_at_k: pass@k of the sweep.
        autoregressiveness: AR-ness of the sweep.
        **metrics: Metrics of each training stage, by its name.
    """
    from diffucoder.report.figures import draw_all

    return draw_all(metrics, pass_at_k, temperature_pass_at_k, autoregressiveness)


def write_report(parameters: dict[str, Any], studies: dict[str, Any], **results: Any) -> str:
    """Write the page: see `diffucoder.report.report.write_report`.

    Args:
        parameters: All parameters of the run.
        studies: What the studies left, by the names of their entries.
        **results: The fields of `RunTables`, and the figures by the names of their entries.
    """
    from diffucoder.report import report

    figures = {name: results.pop(entry) for name, entry in FIGURES.items()}
    return report.write_report(RunTables(**results), figures, Studies.of(studies), parameters)


def write_summary(
    pass_at_k: pd.DataFrame, evaluation_notes: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The headline numbers: see `diffucoder.report.report.summarise`."""
    from diffucoder.report import report

    return report.summarise(pass_at_k, evaluation_notes, seed)
