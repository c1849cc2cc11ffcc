"""Decoding from start to end: prompts in, completions out, in one piece or step by step.

Shapes: B rows, L canvas positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding.batching import Padding
from diffucoder.decoding.request import Completion, Request, Step, check_model
from diffucoder.decoding.sampler import Sampler


@dataclass(frozen=True)
class Generation:
    """The result of a decode.

    Attributes:
        rows: the completion of each request, with its reason and trace.
        length: number of canvas positions L of the longest row.
        pad_token_id: filler for shorter canvases.
        forwards: number of model calls, 0 if there was no prompt.
        computed_positions: number of token positions that they computed, padding included.
    """

    rows: list[Completion]
    length: int
    pad_token_id: int
    forwards: int
    computed_positions: int

    @property
    def completions(self) -> list[list[int]]:
        """Tokens of each row.

        Each list is cut after its end token (before filler, where the end token is missing), or
        where the row was stopped.
        """
        return [row.tokens for row in self.rows]

    @cached_property
    def canvas(self) -> Tensor:
        """int64 `[B, L]`, everything that was written; shorter canvases are filled up."""
        return self._padded([row.canvas for row in self.rows], self.pad_token_id)

    @cached_property
    def reveal_step(self) -> Tensor:
        """int64 `[B, L]`, the row's step at which each position was revealed, from 0.

        -1 for what was not revealed: given, dropped, or beyond a shorter canvas.
        """
        return self._padded([row.reveal_step for row in self.rows], -1)

    def _padded(self, rows: Sequence[Tensor], filler: int) -> Tensor:
        padded_BL = torch.full((len(rows), self.length), filler)
        for index, row_L in enumerate(rows):
            padded_BL[index, : len(row_L)] = row_L
        return padded_BL


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
        generator: one CPU generator, from which each row's generator is derived, or one for each
            row; None draws from torch's default generator.

    Returns:
        The completions, with `completions`, `canvas`, `reveal_step` and `forwards`.

    Raises:
        BadCheckpoint: for a model without a mask token.
        BadData: for an empty prompt, or one that with its canvas is longer than the model's
            context.
        BadParameters: for a cache that the model's attention cannot use.
        ValueError: if the number of generators is not that of prompts.
    """
    # Prompts of plain text: nothing starts a turn, and what ends a text ends a turn.
    special = SpecialIds(
        mask=mask_token_id,
        end_of_text=eos_token_id,
        turn_start=eos_token_id,
        turn_end=eos_token_id,
        pad=pad_token_id,
    )
    check_model(model, special)
    if not prompts:
        return Generation([], config.max_new_tokens, pad_token_id, 0, 0)
    canvas = [mask_token_id] * config.max_new_tokens
    requests = [
        Request(prompt, canvas, config, eos_token_id, row_generator)
        for prompt, row_generator in zip(
            prompts, row_generators(generator, len(prompts)), strict=True
        )
    ]
    return decode(model, requests, special)


def decode(
    model: nn.Module,
    requests: Sequence[Request],
    special: SpecialIds,
    padding: Padding = "left",
) -> Generation:
    """Answer requests together, each as it would be answered alone.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        requests: at least one.
        special: ids of the model's special tokens. The mask is never sampled; filler fills
            shorter rows.
        padding: the side on which shorter rows are padded.

    Returns:
        The completions, in the order of requests.

    Raises:
        BadCheckpoint: for a model without a mask token.
        BadData: for an empty prompt, a canvas without masks, or a row that is longer than the
            model's context.
        BadParameters: for a cache that the model's attention cannot use.
    """
    sampler = _sampler(model, requests, special, padding)
    completions: dict[int, Completion] = {}
    while len(sampler):
        completions |= {step.row: step.completion for step in sampler.step() if step.completion}
    return Generation(
        [completions[number] for number in range(len(requests))],
        max(len(request.canvas) for request in requests),
        special.pad,
        sampler.forwards,
        sampler.computed_positions,
    )


def stream(
    model: nn.Module,
    requests: Sequence[Request],
    special: SpecialIds,
    padding: Padding = "left",
) -> Iterator[Step]:
    """Answer requests step by step.

    Args:
        model: as in `decode`.
        requests: as in `decode`.
        special: as in `decode`.
        padding: as in `decode`.

    Yields:
        What each step reveals in each row.

    Raises:
        BadCheckpoint: as in `decode`.
        BadData: as in `decode`.
        BadParameters: as in `decode`.
    """
    sampler = _sampler(model, requests, special, padding)
    while len(sampler):
        yield from sampler.step()


def _sampler(
    model: nn.Module, requests: Sequence[Request], special: SpecialIds, padding: Padding
) -> Sampler:
    """A sampler with these requests in it, numbered from 0."""
    sampler = Sampler(model, special, padding)
    for request in requests:
        sampler.add(request)
    return sampler


def row_generators(
    generator: torch.Generator | Sequence[torch.Generator] | None, rows: int
) -> list[torch.Generator]:
    """A CPU generator for each row.

    Args:
        generator: as in `generate`.
        rows: number of rows.

    Raises:
        ValueError: if the number of generators is not that of rows.
    """
    if isinstance(generator, Sequence):
        if len(generator) != rows:
            raise ValueError(f"got {len(generator)} generators for {rows} prompts: give one each")
        return list(generator)
    seeds = torch.randint(2**62, (rows,), generator=generator).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]
