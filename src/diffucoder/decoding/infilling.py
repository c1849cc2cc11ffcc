"""Filling holes in a text: what comes before and after each is given.

A hole's length has to be fixed before it is filled, so lengths that are not known are tried out
together, as rows of one batch, and the most likely filling is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding.api import decode, row_generators
from diffucoder.decoding.request import Completion, Request
from diffucoder.errors import BadData


@dataclass(frozen=True)
class Filling:
    """What was written into the holes of a text.

    Attributes:
        holes: the tokens of each hole.
        lengths: the length that was chosen for each hole, in tokens.
        score: mean log-probability of the written tokens, each when it was revealed, in nats.
        completion: the row that it was read from.
    """

    holes: list[list[int]]
    lengths: tuple[int, ...]
    score: float
    completion: Completion


def fill(
    model: nn.Module,
    parts: Sequence[Sequence[int]],
    lengths: Sequence[Sequence[int]],
    config: DecodingParams,
    special: SpecialIds,
    generator: torch.Generator | None = None,
) -> list[Filling]:
    """Fill the holes between the parts of a text, in every combination of lengths.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        parts: the given texts in tokens, a hole between each two; the first is not empty. After
            an empty last one the last hole may end early.
        lengths: for each hole the lengths to try, in tokens; one length is a fixed one.
        config: how to decode; sets the number of tokens per step, not the length.
        special: ids of the model's special tokens. The end of text and filler are written into no
            hole that has text after it.
        generator: as in `generate`; each combination has a generator of its own.

    Returns:
        The fillings, the highest score first; of equals the shorter.

    Raises:
        BadCheckpoint: as in `generate`.
        BadData: for holes and parts that do not match, a hole without lengths to try or with one
            below 1, and as in `generate`.
        BadParameters: as in `generate`.
    """
    if not lengths or len(lengths) != len(parts) - 1:
        raise BadData(
            f"got {len(parts)} parts and lengths for {len(lengths)} holes: give a hole's lengths "
            "for each two parts, and at least two parts"
        )
    for hole, tried in enumerate(lengths):
        if not tried or min(tried) < 1:
            raise BadData(f"hole {hole}: got the lengths {list(tried)}: give at least one, from 1")
    choices = list(product(*lengths))
    generators = row_generators(generator, len(choices))
    requests = [
        Request(
            parts[0],
            _canvas(parts[1:], chosen, special.mask),
            config,
            special.end_of_text,
            row_generator,
            top_logprobs=0,
        )
        for chosen, row_generator in zip(choices, generators, strict=True)
    ]
    rows = decode(model, requests, special).rows
    fillings = [_filling(parts, *pair) for pair in zip(choices, rows, strict=True)]
    return sorted(fillings, key=lambda filling: (-filling.score, sum(filling.lengths)))


def _canvas(after: Sequence[Sequence[int]], lengths: Sequence[int], mask: int) -> list[int]:
    canvas: list[int] = []
    for length, part in zip(lengths, after, strict=True):
        canvas += [mask] * length + list(part)
    return canvas


def _filling(parts: Sequence[Sequence[int]], lengths: tuple[int, ...], row: Completion) -> Filling:
    holes, start = [], 0
    for length, part in zip(lengths, parts[1:], strict=True):
        holes.append(row.tokens[start : start + length])
        start += length + len(part)
    assert row.trace is not None
    logs = [math.log(max(p, 1e-30)) for p in row.trace.probability]
    return Filling(holes, lengths, sum(logs) / len(logs), row)
