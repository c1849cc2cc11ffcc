"""What OpenAI's API asks and answers, as far as a diffusion model can.

Fields that would change the answer and are not known are refused rather than ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from diffucoder.config.decoding import Caching, Rule


def _encodable(text: str) -> str:
    # JSON can hold halves of surrogate pairs, which are no text.
    text.encode()
    return text


Words = Annotated[str, AfterValidator(_encodable)]
Stops = Words | Annotated[list[Words], Field(max_length=16)] | None

# Asked for by name or by none, they change nothing.
IGNORED = ("user", "metadata", "store")


class StreamOptions(BaseModel):
    """Of a stream: whether its last chunk tells the tokens used."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Sampling(BaseModel):
    """Fields that both endpoints share; the second group is this server's own.

    None takes the server's own setting.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    n: int = Field(default=1, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**62), lt=2**62)
    stop: Stops = Field(default=None)
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logprobs: Literal[False, 0] | None = None

    rule: Rule | None = None
    tokens_per_step: int | None = Field(default=None, ge=1)
    block_length: int | None = Field(default=None, ge=1)
    cache: Caching | None = None
    threshold: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)

    @property
    def stops(self) -> list[str]:
        """The stop strings, without empty ones."""
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in found if stop]

    def decoding(self) -> dict[str, Any]:
        """What was asked of decoding."""
        names = ("temperature", "top_p", "top_k", "rule", "tokens_per_step", "block_length",
                 "cache", "threshold")  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class CompletionBody(Sampling):
    """Of `/v1/completions`; `suffix` makes the completion a hole of `max_tokens` tokens."""

    prompt: Words | list[Words]
    suffix: Words | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

    @property
    def wanted(self) -> int | None:
        """Tokens of a completion."""
        return self.max_tokens


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: Words


class Message(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: Words | list[TextPart]

    def plain(self) -> dict[str, str]:
        """As the chat template takes it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Sampling):
    """Of `/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def wanted(self) -> int | None:
        """Tokens of a completion."""
        return self.max_completion_tokens or self.max_tokens
