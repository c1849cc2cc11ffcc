"""Instruction pairs as rows: prompt, response, padding.

Shapes: B rows, L positions.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from diffucoder.data.epochs import Order, shuffled_epochs
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.diffusion.denoising import NoisedBatch, corrupt
from diffucoder.errors import BadData


def read_pairs(path: Path, row_length: int) -> tuple[pa.Table, int]:
    """Read the tokenized pairs that fit into a row.

    Args:
        path: Parquet file with list columns `prompt_ids` and `response_ids`.
        row_length: tokens of a row.

    Returns:
        The pairs that fit, and how many do not.

    Raises:
        BadData: if no pair fits.
    """
    table = pq.read_table(path, columns=["prompt_ids", "response_ids"]).combine_chunks()
    lengths_N = _lengths(table["prompt_ids"]) + _lengths(table["response_ids"])
    fitting = table.filter(pa.array(lengths_N <= row_length))
    if not fitting.num_rows:
        raise BadData(
            f"{path}: none of its {table.num_rows} pairs fits into instruction.row_length = "
            f"{row_length} tokens (the shortest has {lengths_N.min()}): raise row_length, or "
            "check ingestion's pairs"
        )
    return fitting, table.num_rows - fitting.num_rows


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    """Number of tokens of each list: `[N]`."""
    return pc.call_function("list_value_length", [lists]).to_numpy()


def shuffled(positions: Iterable[int], pairs: int, seed: int) -> list[int]:
    """The pair at each position of an endless shuffled reading.

    Args:
        positions: Positions to read.
        pairs: Number of pairs.
        seed: Random seed of the orders.
    """

    def order_of(epoch: int) -> Order:
        return np.random.default_rng([seed, epoch]).permutation(pairs).item

    return shuffled_epochs(pairs, positions, order_of)


def condition_share(position: int, pairs: int, phase_in_epochs: float) -> float:
    """Probability that the prompt of the row at a position is a condition.

    DiffuCoder (arXiv 2506.20639, section on instruction tuning) phases the conditional mask in
    over the first epoch so that tuning starts from what adaptation did. Read here as: the
    probability grows linearly from 0 to 1 over `phase_in_epochs` passes over the pairs. A row
    whose prompt is no condition is noised throughout, as in adaptation; in all later rows the
    prompt is never noised.

    Args:
        position: number of the row since training began.
        pairs: rows of an epoch.
        phase_in_epochs: length of the phase-in; 0 makes every prompt a condition at once.
    """
    rows = phase_in_epochs * pairs
    return 1.0 if position >= rows else position / rows


def instruction_row(
    prompt: list[int],
    response: list[int],
    row_length: int,
    share: float,
    special: SpecialIds,
    generator: torch.Generator,
) -> NoisedBatch:
    """Noise one pair.

    The padding is part of what is learned: the model has to say where the answer ends by
    filling the rest of its canvas with padding.

    Args:
        prompt: the user's turn, up to where the answer begins.
        response: the answer with its end token.
        row_length: tokens of the row.
        share: probability that the prompt is a condition, from `condition_share`.
        special: ids of the mask and the padding token.
        generator: where this row's draws come from.

    Returns:
        A batch of this one row.
    """
    padding = [special.pad] * (row_length - len(prompt) - len(response))
    tokens_BL = torch.tensor([[*prompt, *response, *padding]])
    conditioned = torch.rand((), generator=generator).item() < share
    # The first token has no predecessor that could predict it.
    clean = max(1, len(prompt)) if conditioned else 1
    maskable_BL = (torch.arange(row_length) >= clean)[None]
    return corrupt(tokens_BL, maskable_BL, special.mask, generator)
