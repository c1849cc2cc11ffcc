"""Traces: what a decode did position by position, recorded on request and kept as Parquet.

Shapes: N revealed positions, K most probable tokens, V vocabulary.
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
        "top_tokens": pa.list_(pa.int64()),
        "top_probabilities": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True)
class DecodingTrace:
    """The reveals of one row, in order; within a step from left to right.

    Attributes:
        position: canvas position of each reveal, from 0.
        token: the token that was written there.
        reveal_step: the row's step, from 0.
        probability: probability of the token in the distribution that it was drawn from.
        top_tokens: the most probable tokens there, most probable first; the chosen one is
            among them if it is as probable.
        top_probabilities: their probabilities.
    """

    position: list[int]
    token: list[int]
    reveal_step: list[int]
    probability: list[float]
    top_tokens: list[list[int]]
    top_probabilities: list[list[float]]


class TraceRecorder:
    """Collects the reveals of a row.

    Args:
        top_logprobs: number of most probable tokens to record at each reveal; None records
            nothing.

    Attributes:
        top_logprobs: as given.
    """

    def __init__(self, top_logprobs: int | None) -> None:
        self.top_logprobs = top_logprobs
        self._trace = DecodingTrace([], [], [], [], [], [])

    def add(self, step: int, positions_N: Tensor, tokens_N: Tensor, probs_NV: Tensor) -> None:
        """Record what one step revealed.

        Args:
            step: the row's step.
            positions_N: canvas positions.
            tokens_N: the tokens that were written there.
            probs_NV: the distributions that the tokens were drawn from.
        """
        if self.top_logprobs is None:
            return
        top_NK = probs_NV.topk(min(self.top_logprobs, probs_NV.shape[1]), dim=1)
        chosen_N = probs_NV.gather(1, tokens_N.to(probs_NV.device)[:, None])[:, 0]
        self._trace.position.extend(positions_N.tolist())
        self._trace.token.extend(tokens_N.tolist())
        self._trace.reveal_step.extend([step] * len(tokens_N))
        self._trace.probability.extend(chosen_N.tolist())
        self._trace.top_tokens.extend(top_NK.indices.tolist())
        self._trace.top_probabilities.extend(top_NK.values.tolist())

    def trace(self) -> DecodingTrace | None:
        """What was recorded, or None if nothing was to be recorded."""
        return None if self.top_logprobs is None else self._trace


def write(traces: Mapping[str, DecodingTrace], path: Path) -> None:
    """Save traces as one Parquet file, with a row for each reveal.

    Args:
        traces: traces by name, such as a problem's and a sample's.
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


def read(path: Path) -> dict[str, DecodingTrace]:
    """Read the traces of a Parquet file.

    Args:
        path: a file that `write` saved.

    Returns:
        The traces by name, in the order of the file.

    Raises:
        BadData: if the file does not hold traces.
    """
    table = pq.read_table(path)
    if missing := sorted(set(SCHEMA.names) - set(table.column_names)):
        raise BadData(f"{path}: not a file of traces, it lacks {missing}: write it with `write`")
    columns = {name: table[name].to_pylist() for name in SCHEMA.names}
    names = columns.pop("name")
    traces: dict[str, DecodingTrace] = {}
    for index, name in enumerate(names):
        trace = traces.setdefault(name, DecodingTrace([], [], [], [], [], []))
        for column, values in columns.items():
            getattr(trace, column).append(values[index])
    return traces
