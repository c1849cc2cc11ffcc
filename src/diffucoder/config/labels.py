"""Estimators and objectives are written once, under labels; stages and studies refer to these."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, Field

from diffucoder.config.base import Params
from diffucoder.config.check import renamed, validated
from diffucoder.errors import BadParameters
from diffucoder.rl.estimators.options import EstimatorOptions
from diffucoder.rl.objectives.options import ObjectiveOptions

# What MLflow takes in the names of parameters and metrics.
Label = Annotated[str, Field(pattern=r"^[\w .-]+$")]


class LabelledParams(Params):
    """The blocks in which each choice is written once.

    Attributes:
        estimators: options of estimators by label.
        objectives: options of objectives by label.
    """

    estimators: dict[Label, EstimatorOptions] = Field(default_factory=dict)
    objectives: dict[Label, ObjectiveOptions] = Field(default_factory=dict)


def reported_name(label: str) -> str:
    """What tables and figures call a label: `full_mask` is "full mask"."""
    return label.replace("_", " ")


def replace_labels(written: Mapping[str, Any]) -> dict[str, Any]:
    """Put the options of estimators and objectives where their labels stand.

    Labels are replaced in `grpo.estimator` and `grpo.objective`, in every cell of
    `ablation.cells`, and in the list `lab.estimators`, which becomes a mapping from label to
    options. The import path of a class of the user's own may stand in place of a label.

    Args:
        written: the merged parameters.

    Returns:
        A new tree without the blocks `estimators` and `objectives`. A tree without them is
        returned as it is.

    Raises:
        BadParameters: if an option under a label is wrong, a label unknown, or an option given
            where an earlier version had it.
    """
    names = [name for name in LabelledParams.model_fields if name in written]
    if not names:
        return dict(written)
    known = validated(
        LabelledParams,
        {name: written[name] for name in names},
        f"the parameters under {' and '.join(names)}",
    )
    tree = {key: value for key, value in written.items() if key not in names}
    if isinstance(tree.get("grpo"), Mapping):
        tree["grpo"] = _chosen(tree["grpo"], known, "grpo")
    ablation, lab = tree.get("ablation"), tree.get("lab")
    if isinstance(ablation, Mapping) and isinstance(ablation.get("cells"), Mapping):
        cells = {
            name: _chosen(cell, known, f"ablation.cells.{name}")
            for name, cell in ablation["cells"].items()
        }
        tree["ablation"] = {**ablation, "cells": cells}
    if isinstance(lab, Mapping) and isinstance(lab.get("estimators"), list):
        options = {
            label: _options(label, known.estimators, "estimators", "lab.estimators")
            for label in map(str, lab["estimators"])
        }
        tree["lab"] = {**lab, "estimators": options}
    return tree


def _chosen(block: Any, known: LabelledParams, path: str) -> Any:
    """A block with the options of the estimator and the objective that it names."""
    if not isinstance(block, Mapping):
        return block
    found = dict(block)
    for key, table, where in (
        ("estimator", known.estimators, "estimators"),
        ("objective", known.objectives, "objectives"),
    ):
        if isinstance(found.get(key), Mapping):
            for inner in found[key]:
                if new := renamed(f"{path}.{key}.{inner}"):
                    raise BadParameters(f"{path}.{key}.{inner}: was renamed to {new}")
        if isinstance(found.get(key), str):
            found[key] = _options(found[key], table, where, f"{path}.{key}")
    return found


def _options(label: str, table: Mapping[str, BaseModel], where: str, path: str) -> dict[str, Any]:
    if label in table:
        return table[label].model_dump()
    if "." in label:
        return {"name": label}
    close = get_close_matches(label, table, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadParameters(
        f"{path}: unknown label {label!r}; {hint}Known under {where}: {', '.join(table)}; or give "
        "the import path of a class of your own"
    )
