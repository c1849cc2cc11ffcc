"""Decoding from start to end: prompts in, completions out, in one piece or step by step.

Shapes: B rows, L canvas positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding.batching import Padding
from diffucoder.decoding.request import Completion, Request, Step, check_model
from diffucoder.decoding.sampler import Session


@dataclass(frozen=True)
class Generation:
    """What a decode returns.

    Attributes:
        completions: token lists, each cut after its end token (before filler, where the end
            token is missing), or where the row was stopped.
        canvas: int64 `[B, L]`, everything that was written; shorter canvases are filled up.
        reveal_step: int64 `[B, L]`, the row's step at which each position was revealed, from 0;
            -1 for what was not revealed: given, dropped, or beyond a shorter canvas.
        forwards: model calls, 0 if there was no prompt.
        positions: token positions that they computed, padding included.
        rows: the same row by row, with reasons and traces.
    """

    completions: list[list[int]]
    canvas: Tensor
    reveal_step: Tensor
    forwards: int
    positions: int
    rows: list[Completion]


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    config: DecodingParams,
    mask_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Generation:
    """Denoise a completion for each prompt.

    Rows are independent: each has its own budget and its own random stream, and padding is
    neither attended to nor counted in positions.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        prompts: token lists, of unequal length if need be.
        config: rule, length, steps and temperatures.
        mask_token_id: the mask token; it is never sampled.
        eos_token_id: the token that ends a completion.
        pad_token_id: the filler after the end token.
        generator: one CPU generator, from which a stream for each row is derived, or one a row;
            None draws from torch's default generator.

    Raises:
        BadCheckpoint: for a model with no mask token.
        BadData: for an empty prompt, or one that with its canvas is longer than the model's
            context.
        BadParameters: for a cache that the model's attention cannot use.
        ValueError: for several generators but not one a prompt.
    """
    check_model(model, mask_token_id)
    if not prompts:
        nothing_BL = torch.zeros(0, config.max_new_tokens, dtype=torch.long)
        return Generation([], nothing_BL, nothing_BL, forwards=0, positions=0, rows=[])
    canvas = [mask_token_id] * config.max_new_tokens
    requests = [
        Request(prompt, canvas, config, eos_token_id, stream)
        for prompt, stream in zip(prompts, row_streams(generator, len(prompts)), strict=True)
    ]
    return decode(model, requests, mask_token_id, pad_token_id)


def decode(
    model: nn.Module,
    requests: Sequence[Request],
    mask_token_id: int,
    pad_token_id: int,
    padding: Padding = "left",
) -> Generation:
    """Answer requests together, at least one, each as it would be answered alone.

    Args:
        model: as in `generate`.
        requests: what is asked.
        mask_token_id: as in `generate`.
        pad_token_id: as in `generate`.
        padding: the side on which shorter rows are padded.

    Raises:
        BadCheckpoint: as `generate` does.
        BadData: as `generate` does, and for a canvas without masks.
        BadParameters: as `generate` does.
    """
    session = open_session(model, requests, mask_token_id, pad_token_id, padding)
    found: dict[int, Completion] = {}
    while len(session):
        found |= {step.row: step.completion for step in session.step() if step.completion}
    rows = [found[number] for number in range(len(requests))]
    return Generation(
        [row.tokens for row in rows],
        pad_sequence([row.canvas for row in rows], True, pad_token_id),
        pad_sequence([row.reveal_step for row in rows], True, -1),
        session.forwards,
        session.positions,
        rows,
    )


def stream(
    model: nn.Module,
    requests: Sequence[Request],
    mask_token_id: int,
    pad_token_id: int,
    padding: Padding = "left",
) -> Iterator[Step]:
    """Answer requests step by step: what each step reveals, in each row.

    Args and errors are those of `decode`.
    """
    session = open_session(model, requests, mask_token_id, pad_token_id, padding)
    while len(session):
        yield from session.step()


def open_session(
    model: nn.Module,
    requests: Sequence[Request],
    mask_token_id: int,
    pad_token_id: int,
    padding: Padding = "left",
) -> Session:
    """A session with these requests in it, numbered from 0; args and errors as of `decode`."""
    session = Session(model, mask_token_id, pad_token_id, padding)
    for request in requests:
        session.add(request)
    return session


def row_streams(
    generator: torch.Generator | Sequence[torch.Generator] | None, rows: int
) -> list[torch.Generator]:
    """A random stream for each row.

    Args:
        generator: as in `generate`.
        rows: how many.

    Raises:
        ValueError: for several generators but not one a row.
    """
    if isinstance(generator, Sequence):
        if len(generator) != rows:
            raise ValueError(f"got {len(generator)} generators for {rows} prompts: give one each")
        return list(generator)
    seeds = torch.randint(2**62, (rows,), generator=generator).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]
