"""The lab's nodes: measure the estimators, plot what was found."""

import pandas as pd
import plotly.graph_objects as go

from diffucoder.config.lab import LabParams


def measure_estimators(
    lab: LabParams, seed: int, problems: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure all estimators: see `diffucoder.studies.lab_run.measure_estimators`."""
    from diffucoder.studies import lab_run

    return lab_run.measure_estimators(lab, seed, problems)


def plot_estimators(estimator_noise: pd.DataFrame, lab: LabParams) -> "go.Figure":
    """Plot variances against the budget, and gradients' cosines."""
    from diffucoder.studies.lab import figure
    from diffucoder.studies.lab_run import reported_names

    return figure(estimator_noise, reported_names(lab))
