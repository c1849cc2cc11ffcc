"""The bodies of OpenAI's API, as far as a diffusion model can answer them.

Fields that would change the answer and are not supported are refused rather than ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from diffucoder.decoding.options import Caching
from diffucoder.decoding.rules import RULES


def _encodable(text: str) -> str:
    # JSON can hold halves of surrogate pairs, which are no text.
    text.encode()
    return text


Words = Annotated[str, AfterValidator(_encodable)]
Stops = Words | Annotated[list[Words], Field(max_length=16)] | None


def _registered(rule: str) -> str:
    # A client cannot name an import path: that would let it import any module of the server.
    if rule not in RULES:
        raise ValueError(f"expected one of {', '.join(RULES)}")
    return rule


RegisteredRule = Annotated[str, AfterValidator(_registered)]

# Fields that change nothing, whatever they hold.
IGNORED = ("user", "metadata", "store")


class StreamOptions(BaseModel):
    """Options of a stream.

    Attributes:
        include_usage: whether the last chunk gives the numbers of tokens used.
    """

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class Sampling(BaseModel):
    """Fields that both endpoints share.

    Those from `rule` on are this server's own, those before are OpenAI's. Where None is allowed, it
    takes the server's own setting.

    Attributes:
        model: not read: a server has one model.
        n: number of completions for each prompt.
        temperature: temperature of the token distribution; 0 takes the most probable token.
        top_p: probability of the nucleus.
        seed: random seed; None draws one.
        stop: strings that end a completion.
        stream: whether to send the text while it is written.
        stream_options: options of the stream.
        presence_penalty: not supported.
        frequency_penalty: not supported.
        logprobs: not supported.
        rule: a name in `diffucoder.decoding.rules.RULES`.
        tokens_per_step: number of tokens to reveal per step.
        block_length: length of a block, in tokens.
        cache: which keys and values are reused while a block is written.
        threshold: probability from which the rule `threshold` reveals a token.
        top_k: number of most probable tokens to choose from; 0 keeps all.
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

    rule: RegisteredRule | None = None
    tokens_per_step: int | None = Field(default=None, ge=1)
    block_length: int | None = Field(default=None, ge=1)
    cache: Caching | None = None
    threshold: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)

    @property
    def stops(self) -> list[str]:
        """The stop strings, without empty ones."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in stops if stop]

    def decoding(self) -> dict[str, Any]:
        """The arguments of `decoding_params` that the client set."""
        names = ("temperature", "top_p", "top_k", "rule", "tokens_per_step", "block_length",
                 "cache", "threshold")  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class CompletionBody(Sampling):
    """The body of `/v1/completions`.

    Attributes:
        prompt: one text to continue, or several.
        suffix: text after the completion, which makes it a hole of `max_tokens` tokens.
        max_tokens: length of a completion, in tokens.
        echo: not supported.
        best_of: not supported.
    """

    prompt: Words | list[Words]
    suffix: Words | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

    @property
    def completion_length(self) -> int | None:
        """Length of a completion that the client asked for, in tokens."""
        return self.max_tokens


class TextPart(BaseModel):
    """A part of a message that is text.

    Attributes:
        type: always `text`.
        text: the text.
    """

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Words


class Message(BaseModel):
    """A turn of a conversation.

    Attributes:
        role: who speaks; `developer` is treated as `system`.
        content: the text, or its parts.
    """

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Words | list[TextPart]

    def plain(self) -> dict[str, str]:
        """The message as the chat template takes it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Sampling):
    """The body of `/v1/chat/completions`.

    Attributes:
        messages: the conversation, at least one turn.
        max_tokens: length of the answer, in tokens.
        max_completion_tokens: the same under its newer name, which takes precedence.
    """

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def completion_length(self) -> int | None:
        """Length of a completion that the client asked for, in tokens."""
        return self.max_completion_tokens or self.max_tokens
