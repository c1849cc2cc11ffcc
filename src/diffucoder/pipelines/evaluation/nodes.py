"""Evaluation's node."""

from pathlib import Path
from typing import Any

import pandas as pd

from diffucoder.config.evaluation import EvaluationParams


def evaluate_checkpoints(
    problems: pd.DataFrame, evaluation: EvaluationParams, seed: int, **checkpoints: Path
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Measure all checkpoints: see `diffucoder.evaluation.evaluate.evaluate_checkpoints`."""
    from diffucoder.evaluation import evaluate

    return evaluate.evaluate_checkpoints(problems, checkpoints, evaluation, seed)
