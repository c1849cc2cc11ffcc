"""Objectives of reinforcement learning over estimated log-likelihoods, one file each.

An objective is made by `make`, from its options or from a name. It turns `Scores` into a
`LossOutput`, and says by its properties what it needs.
"""

from typing import TYPE_CHECKING

from diffucoder.config.choice import registry
from diffucoder.errors import BadParameters
from diffucoder.rl.objectives.options import ObjectiveOptions, OwnObjectiveOptions

if TYPE_CHECKING:
    from diffucoder.rl.objectives.base import Objective

__all__ = ["NAMES", "make"]

_CLASSES = registry(ObjectiveOptions)
# The objectives that the project brings.
NAMES = tuple(sorted(_CLASSES))


def make(options: ObjectiveOptions | str) -> "Objective":
    """Make an objective.

    Args:
        options: an instance of its option class; or its name, one of `NAMES` or the import path of
            a class of the user's own, for its defaults.

    Raises:
        BadParameters: for an unknown name, listing the known ones.
    """
    if isinstance(options, str):
        options = _defaults(options)
    return options.make()


def _defaults(name: str) -> ObjectiveOptions:
    if "." in name:
        return OwnObjectiveOptions.model_validate({"name": name})
    if name not in _CLASSES:
        raise BadParameters(
            f"unknown objective {name!r}: expected one of {list(NAMES)}, or the import path of a "
            "class of your own"
        )
    return _CLASSES[name]()
