"""What a sampler is asked, and what it answers.

Shapes: L canvas positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding.trace import Trace
from diffucoder.errors import BadCheckpoint, BadData, BadParameters

# From the tokens written so far, without a gap, to how many of them to keep; None goes on.
Stop = Callable[[list[int]], int | None]


@dataclass(frozen=True)
class Request:
    """One row to decode.

    The canvas is the text after the prompt with the mask token wherever something is to be
    written; its other tokens are given. Masks alone ask for a completion, a given start forces
    its beginning, and given tokens further on make holes to fill. Masks with nothing given after
    them may end early, with an end token or filler; holes before given tokens may hold neither.

    Attributes:
        prompt: tokens before the canvas, at least one.
        canvas: given tokens and masks, at least one mask.
        config: how to decode. Its `max_new_tokens` and `steps` set the pace alone: the canvas has
            a length of its own.
        end_token_id: the token that ends a completion.
        generator: the row's own source of draws, on the CPU; if not given, one with torch's
            default seed.
        stop: ends the row early.
        alternatives: tokens to record beside the chosen one at each reveal; None records no trace.
    """

    prompt: Sequence[int]
    canvas: Sequence[int]
    config: DecodingParams
    end_token_id: int
    generator: torch.Generator = field(default_factory=torch.Generator)
    stop: Stop | None = None
    alternatives: int | None = None


@dataclass(frozen=True)
class Completion:
    """What became of a request.

    Attributes:
        tokens: the canvas up to and including its end token (or before filler, where the end
            token is missing), or up to where it was stopped.
        canvas: int64 `[L]`, everything that was written and given; filler after what was
            dropped.
        reveal_step: int64 `[L]`, the row's step at which each position was revealed, from 0; -1
            for what was given or dropped.
        reason: `end` for an end token or filler, `stop` for the request's own stop, `length` for
            a canvas that is full.
        trace: of the positions that were revealed, if asked for.
    """

    tokens: list[int]
    canvas: Tensor
    reveal_step: Tensor
    reason: str
    trace: Trace | None


@dataclass(frozen=True)
class Step:
    """What one step revealed in one row.

    Attributes:
        row: number of the row, in the order of requests.
        step: the row's step, from 0.
        places: positions of the canvas, from 0.
        tokens: what was written there.
        completion: of a row that this step finished.
    """

    row: int
    step: int
    places: list[int]
    tokens: list[int]
    completion: Completion | None


def check_model(model: nn.Module, mask_token_id: int | None) -> None:
    """Refuse a model that cannot be sampled from.

    Raises:
        BadCheckpoint: for one without a mask token.
    """
    if mask_token_id is None:
        raise BadCheckpoint(
            "mask_token_id is None: a diffusion sampler needs a model with a mask token; "
            "adapt the model first"
        )


def check_request(model: nn.Module, request: Request, mask_token_id: int, row: int) -> None:
    """Refuse a request that cannot be answered.

    Args:
        model: who is asked.
        request: what is asked.
        mask_token_id: the mask token.
        row: the request's number, for the message.

    Raises:
        BadData: for an empty prompt, a canvas without masks, or a prompt and canvas longer than
            the model's context.
        BadParameters: for a cache with attention that takes no mask of its own.
    """
    if not request.prompt:
        raise BadData(
            f"prompt {row} is empty: the first token is predicted from the one before it, "
            "so give at least one token"
        )
    if mask_token_id not in request.canvas:
        raise BadData(
            f"canvas {row} has no mask token ({mask_token_id}), so there is nothing to write: "
            "put one wherever a token is wanted"
        )
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(request.prompt) + len(request.canvas) > context:
        raise BadData(
            f"prompt {row} has {len(request.prompt)} tokens and its canvas {len(request.canvas)}, "
            f"together more than the model's context of {context}: shorten the prompt or lower "
            "max_new_tokens"
        )
    attention = getattr(model.config, "_attn_implementation", None)
    if request.config.cache != "none" and attention not in ("sdpa", "eager"):
        raise BadParameters(
            f"cache is {request.config.cache} and the model's attention is {attention}, which "
            "takes no mask of its own: load the model with attn_implementation sdpa or eager, or "
            "set cache to none"
        )
