"""Objectives of reinforcement learning over estimated log-likelihoods, one file each.

An objective is made by `make`, from its options or from a name. It turns `Scores` into a
`LossOutput`, and says by its properties what it needs.
"""

from typing import TYPE_CHECKING

from diffucoder.config.choice import default_options, registry
from diffucoder.rl.objectives.options import ObjectiveOptions

if TYPE_CHECKING:
    from diffucoder.rl.objectives.base import Objective

__all__ = ["NAMES", "make"]

# The objectives that the project brings.
NAMES = tuple(sorted(registry(ObjectiveOptions)))


def make(options: ObjectiveOptions | str) -> "Objective":
    """Make an objective.

    Args:
        options: an instance of its option class; or its name, one of `NAMES` or the import path of
            a class of the user's own, for its defaults.

    Raises:
        BadParameters: for an unknown name, listing the known ones.
    """
    named = isinstance(options, str)
    chosen = default_options(ObjectiveOptions, "objective", options) if named else options
    return chosen.make()
