"""What the report is made of; the fields are named as the entries of the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import pandas as pd
import plotly.graph_objects as go

# The figures that the report always has, and the catalog's entry of each.
FIGURES = {
    "losses": "losses_figure",
    "rewards": "reward_figure",
    "pass_rates": "pass_rate_figure",
    "temperatures": "temperature_figure",
    "autoregressiveness": "ar_figure",
}


@dataclass(frozen=True)
class RunTables:
    """What a run of the chain left.

    Attributes:
        completions: Scored completions of the evaluation stage.
        pass_at_k: Their pass@k with intervals.
        evaluation_notes: What evaluation skipped and left out, and the sandbox's tier.
        temperature_completions: Scored completions of the temperature sweep.
        temperature_reveals: What is known of their reveals; may be empty.
        temperature_pass_at_k: Their pass@k with intervals.
        data_report: What ingestion kept and left out.
    """

    completions: pd.DataFrame
    pass_at_k: pd.DataFrame
    evaluation_notes: dict[str, Any]
    temperature_completions: pd.DataFrame
    temperature_reveals: pd.DataFrame
    temperature_pass_at_k: pd.DataFrame
    data_report: dict[str, Any]


@dataclass(frozen=True)
class Studies:
    """What the pipelines `lab` and `ablation` found; None what was not measured.

    Attributes:
        estimator_noise: Table of `diffucoder.studies.lab.EstimatorNoise`.
        estimator_cost: Table of `diffucoder.studies.lab.EstimatorCost`.
        estimator_figure: The lab's figure.
        ablation_pass_rates: Table of `diffucoder.studies.ablation.PassRates`.
        ablation_summary: Table of `diffucoder.studies.ablation.Summary`.
        ablation_figure: The ablation's figure.
    """

    estimator_noise: pd.DataFrame | None = None
    estimator_cost: pd.DataFrame | None = None
    estimator_figure: go.Figure | None = None
    ablation_pass_rates: pd.DataFrame | None = None
    ablation_summary: pd.DataFrame | None = None
    ablation_figure: go.Figure | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Take what belongs here from a mapping; other keys are ignored.

        Args:
            found: Tables and figures by the name of their entry.
        """
        return cls(**{field.name: found.get(field.name) for field in fields(cls)})

    @property
    def lab(self) -> dict[str, list[dict[str, Any]]] | None:
        """Rows of the lab's tables `noise` and `cost`, if all that the lab leaves is there."""
        noise, cost = self.estimator_noise, self.estimator_cost
        if noise is None or cost is None or self.estimator_figure is None:
            return None
        return {"noise": noise.to_dict("records"), "cost": cost.to_dict("records")}

    @property
    def ablation(self) -> list[dict[str, Any]] | None:
        """Rows of the ablation's summary, if there are a summary and a figure."""
        if self.ablation_summary is None or self.ablation_figure is None:
            return None
        return self.ablation_summary.to_dict("records")

    @property
    def figures(self) -> dict[str, go.Figure]:
        """Figures of the sections that are shown, by the name of the section."""
        found = {"estimators": self.estimator_figure} if self.lab else {}
        found |= {"ablation": self.ablation_figure} if self.ablation else {}
        return {name: figure for name, figure in found.items() if figure is not None}
