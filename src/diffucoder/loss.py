"""What every loss of the project returns."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

# Detached scalars by name.
Metrics = Mapping[str, Tensor]


class LossOutput(NamedTuple):
    """A loss and what it says about itself; unpacks as `(loss, metrics)`.

    Attributes:
        loss: scalar with gradient.
        metrics: detached scalars by name.
    """

    loss: Tensor
    metrics: Metrics
