"""What is sent back: text as far as it is settled, and OpenAI's objects around it."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffucoder.decoding import Request
from diffucoder.decoding.stops import before_strings
from diffucoder.serving.batching import Job
from diffucoder.serving.protocol import Sampling
from diffucoder.serving.speaker import Speaker

# What half a character decodes to.
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Asked:
    """One request, ready to be decoded.

    Attributes:
        body: what was asked.
        rows: a request for each choice.
        chat: whether the answer is a message.
    """

    body: Sampling
    rows: list[Request]
    chat: bool

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts; each is counted once."""
        return sum(len(row.prompt) for row in self.rows[:: self.body.n])


def settled(speaker: Speaker, asked: Asked, job: Job) -> str:
    """The text that is certain so far; all of it once the job is done."""
    special, row, stops = speaker.special, job.request, asked.body.stops
    done = job.completion is not None
    tokens = job.completion.tokens if job.completion else job.settled()
    masks = row.canvas.count(special.mask)
    text = speaker.decode(_before_end(tokens[:masks], row.end_token_id, special.pad))
    kept = before_strings(text, stops)
    if done or len(kept) < len(text):
        return kept
    # Half a character, or what may become a stop string, is not certain.
    kept = kept.rstrip(REPLACEMENT)
    held = max((_overlap(kept, stop) for stop in stops), default=0)
    return kept[: len(kept) - held]


def reason(job: Job) -> str | None:
    """Why a job ended, in OpenAI's words; None while it has not."""
    if job.completion is None:
        return None
    return "length" if job.completion.reason == "length" else "stop"


def usage(asked: Asked, jobs: Sequence[Job]) -> dict[str, int]:
    """Tokens read and written; the end token counts, given ones after a hole do not."""
    # Given tokens lie after the masks, so they are not among the first so many.
    written = sum(
        len(job.completion.tokens[: job.request.canvas.count(job.mask)])
        for job in jobs
        if job.completion
    )
    prompt = asked.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def head(speaker: Speaker, asked: Asked, kind: str) -> dict[str, Any]:
    """What every object begins with."""
    prefix = "chatcmpl" if asked.chat else "cmpl"
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": speaker.name,
    }


def whole(speaker: Speaker, asked: Asked, jobs: Sequence[Job]) -> dict[str, Any]:
    """The answer in one piece, once all jobs are done."""
    choices = []
    for index, job in enumerate(jobs):
        text = settled(speaker, asked, job)
        content = (
            {"message": {"role": "assistant", "content": text}} if asked.chat else {"text": text}
        )
        choices.append({"index": index, **content, "finish_reason": reason(job), "logprobs": None})
    kind = "chat.completion" if asked.chat else "text_completion"
    return head(speaker, asked, kind) | {"choices": choices, "usage": usage(asked, jobs)}


def _before_end(tokens: list[int], end: int, pad: int) -> list[int]:
    found = [at for at, token in enumerate(tokens) if token in (end, pad)]
    return tokens[: found[0]] if found else tokens


def _overlap(text: str, stop: str) -> int:
    """The longest end of the text that a stop string begins with."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
