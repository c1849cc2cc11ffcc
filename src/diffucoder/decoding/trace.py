"""What a decode did, position by position: on request, and kept as Parquet.

Shapes: N revealed positions, K alternatives, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from diffucoder.errors import BadData

SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "position": pa.int64(),
        "token": pa.int64(),
        "reveal_step": pa.int64(),
        "probability": pa.float32(),
        "alternatives": pa.list_(pa.int64()),
        "alternative_probabilities": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True)
class Trace:
    """The reveals of one row, in order; within a step from left to right.

    Attributes:
        position: canvas position of each reveal, from 0.
        token: what was written there.
        reveal_step: the row's step, from 0.
        probability: of the token, in the distribution that it was drawn from.
        alternatives: the most probable tokens there, most probable first; the chosen one is
            among them if it is as probable.
        alternative_probabilities: theirs.
    """

    position: list[int]
    token: list[int]
    reveal_step: list[int]
    probability: list[float]
    alternatives: list[list[int]]
    alternative_probabilities: list[list[float]]


class Recorder:
    """Collects the reveals of a row; None alternatives record nothing."""

    def __init__(self, alternatives: int | None) -> None:
        self.alternatives = alternatives
        self._rows: list[tuple[int, int, int, float, list[int], list[float]]] = []

    def add(self, step: int, places_N: Tensor, tokens_N: Tensor, probs_NV: Tensor) -> None:
        """Record what one step revealed.

        Args:
            step: the row's step.
            places_N: canvas positions.
            tokens_N: what was written there.
            probs_NV: the distributions that the tokens were drawn from.
        """
        assert self.alternatives is not None
        top_NK = probs_NV.topk(min(self.alternatives, probs_NV.shape[1]), dim=1)
        chosen_N = probs_NV.gather(1, tokens_N.to(probs_NV.device)[:, None])[:, 0]
        columns = (places_N, tokens_N, chosen_N, top_NK.indices, top_NK.values)
        for place, token, p, others, theirs in zip(*(c.tolist() for c in columns), strict=True):
            self._rows.append((place, token, step, p, others, theirs))

    def trace(self) -> Trace | None:
        """What was recorded, or None if nothing was to be."""
        if self.alternatives is None:
            return None
        columns = [list(column) for column in zip(*self._rows, strict=True)] or [[]] * 6
        return Trace(*columns)


def write(traces: Mapping[str, Trace], path: Path) -> None:
    """Save traces as one Parquet file, a row for each reveal.

    Args:
        traces: by name, such as a problem's and a sample's.
        path: the file, which is replaced.
    """
    rows: dict[str, list] = {name: [] for name in SCHEMA.names}
    for name, trace in traces.items():
        rows["name"] += [name] * len(trace.token)
        for column, values in vars(trace).items():
            rows[column] += values
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(pa.table(rows, schema=SCHEMA), partial)
    partial.rename(path)


def read(path: Path) -> dict[str, Trace]:
    """The traces of a Parquet file, by name, in its order.

    Raises:
        BadData: if the file is not one of traces.
    """
    table = pq.read_table(path)
    if missing := sorted(set(SCHEMA.names) - set(table.column_names)):
        raise BadData(f"{path}: not a file of traces, it lacks {missing}: write it with `write`")
    columns = {name: table[name].to_pylist() for name in SCHEMA.names}
    names = columns.pop("name")
    traces: dict[str, Trace] = {}
    for index, name in enumerate(names):
        trace = traces.setdefault(name, Trace([], [], [], [], [], []))
        for column, values in columns.items():
            getattr(trace, column).append(values[index])
    return traces
