"""What a sampler takes and what it returns.

Shapes: L canvas positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding.trace import DecodingTrace
from diffucoder.errors import BadCheckpoint, BadData, BadParameters

# From the tokens written so far, without a gap, to the number of them to keep; None continues.
Stop = Callable[[list[int]], int | None]

Reason = Literal["end", "stop", "length"]


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
        config: how to decode. Its `max_new_tokens` and `steps` only set the number of tokens
            per step: the canvas has a length of its own.
        end_token_id: the token that ends a completion.
        generator: the row's own CPU generator; if not given, one with torch's default seed.
        stop: ends the row early.
        top_logprobs: number of most probable tokens to record at each reveal, beside the chosen
            one; None records no trace.
    """

    prompt: Sequence[int]
    canvas: Sequence[int]
    config: DecodingParams
    end_token_id: int
    generator: torch.Generator = field(default_factory=torch.Generator)
    stop: Stop | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class Completion:
    """The result of a request.

    Attributes:
        tokens: the canvas up to and including its end token (or before filler, where the end
            token is missing), or up to where it was stopped.
        canvas: int64 `[L]`, all written and given tokens; filler after what was dropped.
        reveal_step: int64 `[L]`, the row's step at which each position was revealed, from 0; -1
            for positions that were given or dropped.
        reason: `end` for an end token or filler, `stop` for the request's own stop, `length` for
            a full canvas.
        trace: the reveals, if the request asked for a trace.
    """

    tokens: list[int]
    canvas: Tensor
    reveal_step: Tensor
    reason: Reason
    trace: DecodingTrace | None


@dataclass(frozen=True)
class Step:
    """What one step revealed in one row.

    Attributes:
        row: number of the row, in the order of requests.
        step: the row's step, from 0.
        positions: canvas positions that were revealed, from 0.
        tokens: the tokens that were written there.
        completion: the row's completion, if this step finished it.
    """

    row: int
    step: int
    positions: list[int]
    tokens: list[int]
    completion: Completion | None


def check_model(model: nn.Module, special: SpecialIds) -> PreTrainedModel:
    """Refuse a model that cannot be sampled from.

    Args:
        model: a causal-LM module of transformers.
        special: ids of its special tokens.

    Returns:
        The model.

    Raises:
        BadCheckpoint: for a model without a mask token.
    """
    if special.mask is None:
        raise BadCheckpoint(
            "mask_token_id is None: a diffusion sampler needs a model with a mask token; "
            "adapt the model first"
        )
    # Not isinstance: wrappers such as an engine's hand its attributes on.
    return cast(PreTrainedModel, model)


def check_request(model: nn.Module, request: Request, special: SpecialIds, row: int) -> None:
    """Refuse a request that cannot be answered.

    Args:
        model: the model that is to answer.
        request: the request.
        special: ids of the model's special tokens.
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
    if special.mask not in request.canvas:
        raise BadData(
            f"canvas {row} has no mask token ({special.mask}), so there is nothing to write: "
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
