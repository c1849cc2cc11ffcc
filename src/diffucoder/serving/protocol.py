"""What clients send, and what they are answered: OpenAI's completions and chat completions.

The decoding options that diffusion adds come in a field `decoding`.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_CHOICES = 16
MAX_STOPS = 4


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(lambda value: [] if value is None else _listed(value)),
]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Body(BaseModel):
    """What both endpoints take.

    Attributes:
        model: any name; there is one model.
        max_tokens: length of the canvas; None takes the server's.
        temperature, top_p: None takes the server's.
        n: answers, drawn apart.
        seed: of the draws; equal requests with equal seeds get equal answers.
        stop: strings before which a text ends.
        stream: whether to send text as it settles.
        decoding: fields of the sampler's options in place of the server's, such as
            `{"rule": "threshold", "steps": 32}`.
    """

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Stops = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    decoding: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_for_nothing(cls, raw: Any) -> Any:
        """Clients spell out options they do not use; those that this server lacks may pass."""
        if not isinstance(raw, Mapping):
            return raw
        known = cls.model_fields
        return {k: v for k, v in raw.items() if k in known or v not in (None, 0, False, {}, [])}


class CompletionBody(Body):
    """A body of `/v1/completions`.

    Attributes:
        prompt: text, or several.
        suffix: text after what is to be written, which then fills the `max_tokens` between.
    """

    prompt: Annotated[list[str], Field(min_length=1), BeforeValidator(_listed)]
    suffix: str | None = None


class Part(BaseModel):
    """A part of a message; text alone is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(Body):
    """A body of `/v1/chat/completions`.

    Attributes:
        messages: the chat so far.
        max_completion_tokens: the newer name of `max_tokens`.
    """

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Tokens read and written."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class Form:
    """The objects of one answer, of either endpoint.

    Args:
        model: name of the model.
        chat: whether it answers a chat.
    """

    def __init__(self, model: str, chat: bool) -> None:
        self.chat = chat
        prefix, self.kind = ("chatcmpl", "chat.completion") if chat else ("cmpl", "text_completion")
        identity = f"{prefix}-{uuid.uuid4().hex}"
        self.head = {"id": identity, "created": int(time.time()), "model": model}

    def whole(self, texts: list[str], reasons: list[str], used: dict[str, int]) -> dict[str, Any]:
        """An answer in one piece."""
        choices = [
            self._choice(index, {"role": "assistant", "content": text} if self.chat else text, why)
            for index, (text, why) in enumerate(zip(texts, reasons, strict=True))
        ]
        return self.head | {"object": self.kind, "choices": choices, "usage": used}

    def piece(self, index: int, text: str, reason: str | None, first: bool) -> dict[str, Any]:
        """A part of a streamed answer."""
        delta = ({"role": "assistant"} if first else {}) | {"content": text}
        choice = self._choice(index, delta if self.chat else text, reason)
        if self.chat:
            choice["delta"] = choice.pop("message")
        return self.head | {"object": self._piece_kind(), "choices": [choice]}

    def last(self, used: dict[str, int]) -> dict[str, Any]:
        """The end of a streamed answer that is to say what it took."""
        return self.head | {"object": self._piece_kind(), "choices": [], "usage": used}

    def _piece_kind(self) -> str:
        return f"{self.kind}.chunk" if self.chat else self.kind

    def _choice(self, index: int, content: Any, reason: str | None) -> dict[str, Any]:
        name = "message" if self.chat else "text"
        return {"index": index, name: content, "logprobs": None, "finish_reason": reason}


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """The body of an answer that is an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
