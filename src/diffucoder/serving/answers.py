"""What is sent back: text as far as it is stable, and OpenAI's objects around it."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffucoder.decoding import Request
from diffucoder.decoding.stops import before_strings
from diffucoder.serving.batching import RequestState
from diffucoder.serving.chat_model import ChatModel
from diffucoder.serving.protocol import Sampling

# What half a character decodes to.
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class ParsedRequest:
    """A client's request, ready to be decoded.

    Attributes:
        body: the body as the client sent it.
        rows: a decoding request for each choice.
        chat: whether the answer is a message.
    """

    body: Sampling
    rows: list[Request]
    chat: bool

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of all prompts; each prompt is counted once."""
        return sum(len(row.prompt) for row in self.rows[:: self.body.n])


def stable_text(chat_model: ChatModel, parsed: ParsedRequest, state: RequestState) -> str:
    """The text that can no longer change; all of it once the request is done.

    Args:
        chat_model: the checkpoint.
        parsed: the client's request.
        state: one of its rows.
    """
    special, row, stops = chat_model.special, state.request, parsed.body.stops
    done = state.completion is not None
    tokens = state.completion.tokens if state.completion else state.stable_tokens()
    masks = row.canvas.count(special.mask)
    text = chat_model.decode(_before_end(tokens[:masks], row.end_token_id, special.pad))
    stable = before_strings(text, stops)
    if done or len(stable) < len(text):
        return stable
    # Half a character, or what may become a stop string, can still change.
    stable = stable.rstrip(REPLACEMENT)
    held = max((_overlap(stable, stop) for stop in stops), default=0)
    return stable[: len(stable) - held]


def finish_reason(state: RequestState) -> str | None:
    """Why a request ended, in OpenAI's words; None while it has not."""
    if state.completion is None:
        return None
    return "length" if state.completion.reason == "length" else "stop"


def usage(parsed: ParsedRequest, states: Sequence[RequestState]) -> dict[str, int]:
    """Numbers of tokens read and written.

    The end token counts; given tokens after a hole do not.

    Args:
        parsed: the client's request.
        states: all of its rows.
    """
    # Given tokens come after the masks, so they are not among as many tokens as there were masks.
    written = sum(
        len(state.completion.tokens[: state.request.canvas.count(state.mask)])
        for state in states
        if state.completion
    )
    prompt = parsed.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def envelope(chat_model: ChatModel, parsed: ParsedRequest, kind: str) -> dict[str, Any]:
    """The fields that every object begins with.

    Args:
        chat_model: the checkpoint.
        parsed: the client's request.
        kind: the object's type, such as `chat.completion`.
    """
    prefix = "chatcmpl" if parsed.chat else "cmpl"
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": chat_model.name,
    }


def response(
    chat_model: ChatModel, parsed: ParsedRequest, states: Sequence[RequestState]
) -> dict[str, Any]:
    """The answer in one piece, once all rows are done.

    Args:
        chat_model: the checkpoint.
        parsed: the client's request.
        states: all of its rows.
    """
    choices = []
    for index, state in enumerate(states):
        text = stable_text(chat_model, parsed, state)
        content = (
            {"message": {"role": "assistant", "content": text}} if parsed.chat else {"text": text}
        )
        reason = finish_reason(state)
        choices.append({"index": index, **content, "finish_reason": reason, "logprobs": None})
    kind = "chat.completion" if parsed.chat else "text_completion"
    return envelope(chat_model, parsed, kind) | {
        "choices": choices,
        "usage": usage(parsed, states),
    }


def _before_end(tokens: list[int], end: int, pad: int) -> list[int]:
    ends = [index for index, token in enumerate(tokens) if token in (end, pad)]
    return tokens[: ends[0]] if ends else tokens


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that a stop string begins with."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
