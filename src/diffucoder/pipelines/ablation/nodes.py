"""The ablation's nodes: train every cell with every seed, measure, compare."""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from diffucoder.config.ablation import AblationParams
from diffucoder.config.grpo import GrpoParams


def train_cells(
    ablation: AblationParams, grpo: GrpoParams, instruct: Path, problems: pd.DataFrame
) -> pd.DataFrame:
    """Train all cells: see `diffucoder.studies.ablation_run.train_cells`."""
    from diffucoder.studies import ablation_run

    return ablation_run.train_cells(ablation, grpo, instruct, problems)


def evaluate_cells(
    ablation: AblationParams,
    grpo: GrpoParams,
    seed: int,
    instruct: Path,
    problems: pd.DataFrame,
    ablation_curves: pd.DataFrame,
) -> pd.DataFrame:
    """Measure all cells: see `diffucoder.studies.ablation_run.evaluate_cells`."""
    from diffucoder.studies import ablation_run

    return ablation_run.evaluate_cells(ablation, grpo, seed, instruct, problems, ablation_curves)


def compare_cells(
    ablation: AblationParams,
    seed: int,
    ablation_curves: pd.DataFrame,
    ablation_pass_rates: pd.DataFrame,
) -> "tuple[pd.DataFrame, go.Figure]":
    """pass@1 and rewards with intervals, and curves: see `diffucoder.studies.ablation`."""
    from diffucoder.studies.ablation import figure, summary

    compared = summary(
        ablation_curves, ablation_pass_rates, ablation.window, ablation.bootstrap, seed
    )
    return compared, figure(ablation_curves, ablation.window, ablation.bootstrap, seed)
