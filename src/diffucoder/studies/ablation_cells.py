"""The cells of the ablation: the parameters of each training, and what its steps cost."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffucoder.config.ablation import EQUAL_COMPUTE, AblationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.errors import BadParameters
from diffucoder.rl import estimators, objectives


def cell_params(
    ablation: AblationParams, grpo: GrpoParams, label: str, seed: int, budget: str
) -> GrpoParams:
    """The parameters of one training.

    Args:
        ablation: The ablation's parameters.
        grpo: The stage that cells vary.
        label: Label of the cell.
        seed: Random seed of the training.
        budget: `equal steps`, or `equal compute`: as many steps as take the forward passes that the
            cheapest cell needs for all of its steps.

    Raises:
        BadParameters: If a cell's changes make no sense, naming it, or if its budget does not pay
            for a single step.
    """
    params = {name: _changed(ablation, grpo, name) for name in ablation.cells}
    own = params[label]
    steps = own.training.steps
    if budget == EQUAL_COMPUTE:
        affordable = min(forwards_per_step(cell) for cell in params.values()) * steps
        steps = affordable // forwards_per_step(own)
    tree = own.model_dump()
    tree["work"] = str(folder_of(ablation, label, seed, steps))
    tree["training"]["steps"] = steps
    return _checked(label, tree)


def _changed(ablation: AblationParams, grpo: GrpoParams, label: str) -> GrpoParams:
    """The parameters of a cell, without the folder of a training."""
    cell, tree = ablation.cells[label], grpo.model_dump()
    if cell.estimator is not None:
        tree["estimator"] = cell.estimator.model_dump()
    if cell.objective is not None:
        tree["objective"] = cell.objective.model_dump()
    tree["advantages"] |= cell.advantages
    if ablation.steps is not None:
        tree["training"]["steps"] = ablation.steps
    return _checked(label, tree)


def _checked(label: str, tree: Mapping[str, Any]) -> GrpoParams:
    try:
        return GrpoParams.model_validate(tree)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, details['loc']))}: {details['msg']}" for details in error.errors()
        ]
        raise BadParameters(f"ablation.cells.{label}: {'; '.join(wrong)}") from error


def folder_of(ablation: AblationParams, label: str, seed: int, steps: int) -> Path:
    """The work folder of one training.

    Args:
        ablation: The ablation's parameters.
        label: Label of the cell.
        seed: Random seed of the training.
        steps: Rollout steps of the training.
    """
    return Path(ablation.work) / label / f"{seed}-{steps}"


def forwards_per_step(params: GrpoParams) -> int:
    """Forward passes that each completion of a step costs: to sample it and to score it.

    Args:
        params: Parameters of a training with coupled-GRPO.
    """
    estimator = estimators.make(params.estimator, mask_token_id=0, steps=params.decoding.steps)
    objective = objectives.make(params.objective)
    calls = sum(
        _calls(params.num_iterations, objective.needs_old_logprobs, objective.needs_reference)
    )
    return params.decoding.steps + calls * estimator.forwards


def _calls(iterations: int, needs_old: bool, needs_reference: bool) -> Iterator[int]:
    """Calls of the estimator on the new, the old and the reference policy."""
    yield iterations
    # In the first iteration the new policy is the old one.
    yield iterations - 1 if needs_old else 0
    yield iterations if needs_reference else 0
