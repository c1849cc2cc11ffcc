"""The checkpoints that are measured, compared and shown: one line each."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator


@dataclass(frozen=True)
class Checkpoint:
    """How a checkpoint appears in tables and figures.

    Attributes:
        title: Name that a reader sees.
        colour: Its colour in every figure, `#rrggbb`; readable on light and on dark ground.
        symbol: Its marker, a symbol of Plotly; tells checkpoints apart without their colours.
    """

    title: str
    colour: str
    symbol: str


# By the name of its entry in the catalog, in the order in which checkpoints are made.
CHECKPOINTS: dict[str, Checkpoint] = {
    "adapted": Checkpoint("adapted", "#8b909a", "diamond"),
    "instruct": Checkpoint("instruct", "#4285c4", "circle"),
    "grpo": Checkpoint("coupled-GRPO", "#d97b29", "square"),
}


def _known(name: str) -> str:
    if name not in CHECKPOINTS:
        raise ValueError(f"there is no checkpoint {name!r}: choose from {', '.join(CHECKPOINTS)}")
    return name


CheckpointName = Annotated[str, AfterValidator(_known)]
