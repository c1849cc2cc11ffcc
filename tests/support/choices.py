"""Estimators and objectives from a name and options, as the parameters give them."""

from typing import Any

from pydantic import TypeAdapter

from diffucoder.rl import estimators, objectives
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.options import EstimatorOptions
from diffucoder.rl.objectives.base import Objective
from diffucoder.rl.objectives.options import ObjectiveOptions


def estimator_of(
    name: str, mask_token_id: int, steps: int | None = None, **options: Any
) -> Estimator:
    """An estimator with these options."""
    chosen = TypeAdapter(EstimatorOptions).validate_python({"name": name, **options})
    return estimators.make(chosen, mask_token_id=mask_token_id, steps=steps)


def objective_of(name: str, **options: Any) -> Objective:
    """An objective with these options."""
    return objectives.make(TypeAdapter(ObjectiveOptions).validate_python({"name": name, **options}))
