"""Objectives of reinforcement learning over estimated log-likelihoods, one file each."""

from dataclasses import fields
from typing import Any

from diffucoder.errors import BadParameters
from diffucoder.rl.objectives.base import Objective
from diffucoder.rl.objectives.espo import Espo
from diffucoder.rl.objectives.gdsd import Gdsd
from diffucoder.rl.objectives.grpo import Grpo
from diffucoder.rl.objectives.spg import Spg
from diffucoder.rl.objectives.wd1 import Wd1

__all__ = ["REGISTRY", "Objective", "get"]

REGISTRY: dict[str, type] = {"espo": Espo, "gdsd": Gdsd, "grpo": Grpo, "spg": Spg, "wd1": Wd1}


def get(name: str, **options: Any) -> Objective:
    """Make an objective by name.

    Args:
        name: a key of `REGISTRY`.
        options: fields of that objective.

    Raises:
        BadParameters: for an unknown name or option, or a missing one, listing the known ones.
    """
    if name not in REGISTRY:
        raise BadParameters(f"unknown objective {name!r}: expected one of {sorted(REGISTRY)}")
    known = [field.name for field in fields(REGISTRY[name])]
    if sorted(options) != sorted(known):
        raise BadParameters(
            f"objective {name!r} takes the options {sorted(known)}, got {sorted(options)}"
        )
    return REGISTRY[name](**options)
