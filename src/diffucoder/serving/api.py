"""The HTTP side: `/v1/completions`, `/v1/chat/completions`, `/v1/models`, `/health`.

Answers stream as text that is settled from the left: a diffusion model writes in any order, and
what the protocol sends cannot be taken back.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Request
from diffucoder.decoding.request import check_request
from diffucoder.decoding.stops import at_strings
from diffucoder.errors import BadData, BadParameters
from diffucoder.serving import answers
from diffucoder.serving.batching import Batcher, Busy, Job, OutOfTime
from diffucoder.serving.protocol import IGNORED, ChatBody, CompletionBody
from diffucoder.serving.speaker import Speaker, pace

# Seconds between two looks at whether a client is still there.
LOOK = 0.2


@dataclass(frozen=True)
class Limits:
    """What a client may ask.

    Attributes:
        body_bytes: of a request.
        body_seconds: that a request's body may take to arrive.
        tokens: of a completion; also what is given where none are asked for.
        choices: completions of one request: prompts times `n`.
        slots: rows that are decoded together.
        line: requests that may wait for a slot.
        seconds: that a request may take, waiting included.
    """

    body_bytes: int = 2**20
    body_seconds: float = 10.0
    tokens: int = 256
    choices: int = 16
    slots: int = 16
    line: int = 64
    seconds: float = 120.0


@dataclass(frozen=True)
class Server:
    """What the endpoints need."""

    speaker: Speaker
    batcher: Batcher
    limits: Limits
    options: dict[str, Any]
    token: str | None


def application(
    speaker: Speaker,
    limits: Limits,
    options: dict[str, Any] | None = None,
    token: str | None = None,
) -> Starlette:
    """The application, with a thread that decodes while it runs.

    Args:
        speaker: who answers.
        limits: what a client may ask.
        options: of `pace`, where a client asks for nothing else.
        token: what clients have to send as `Authorization: Bearer`; None lets all in.
    """
    batcher = Batcher(speaker, limits.slots, limits.line, limits.seconds)
    server = Server(speaker, batcher, limits, options or {}, token)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    async def health(request: HttpRequest) -> Response:
        active, waiting = batcher.load
        return JSONResponse({"status": "ok", "active": active, "waiting": waiting})

    async def models(request: HttpRequest) -> Response:
        _authorise(server, request)
        entry = {"id": speaker.name, "object": "model", "created": 0, "owned_by": "diffucoder"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def completions(request: HttpRequest) -> Response:
        return await _answer(server, request, CompletionBody, _completion_rows)

    async def chat(request: HttpRequest) -> Response:
        return await _answer(server, request, ChatBody, _chat_rows)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.state.batcher = batcher
    return app


async def _refused(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        _error(error.detail, error.status_code), error.status_code, headers=error.headers
    )


def _error(message: str, status: int) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": str(status)}}


def _authorise(server: Server, request: HttpRequest) -> None:
    given = request.headers.get("authorization", "").encode()
    if server.token and not hmac.compare_digest(given, f"Bearer {server.token}".encode()):
        raise HTTPException(
            401,
            "give the server's token as `Authorization: Bearer TOKEN`",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def _body(server: Server, request: HttpRequest) -> dict[str, Any]:
    # A web page cannot send this type to another origin without asking first, and is not let.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "send the body as application/json")
    most, parts, size = server.limits.body_bytes, [], 0
    try:
        async with asyncio.timeout(server.limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise HTTPException(413, f"the body is larger than {most} bytes")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, "the body took too long to arrive") from error
    try:
        found = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is no JSON object")
    # Clients spell out what they do not use.
    return {k: v for k, v in found.items() if k not in IGNORED and v is not None}


async def _answer(
    server: Server,
    request: HttpRequest,
    schema: type[CompletionBody] | type[ChatBody],
    rows_of: Callable[[Server, Any], list[Request]],
) -> Response:
    _authorise(server, request)
    try:
        body = schema.model_validate(await _body(server, request))
        # Tokenizing much text takes time that other clients should not wait for.
        rows = await asyncio.to_thread(rows_of, server, body)
    except ValidationError as error:
        raise HTTPException(400, _told(error)) from error
    except (BadData, BadParameters) as error:
        raise HTTPException(400, str(error)) from error
    asked = answers.Asked(body, rows, issubclass(schema, ChatBody))
    try:
        jobs = server.batcher.submit(rows)
    except Busy as error:
        raise HTTPException(
            429, "too many requests are waiting: try again later", headers={"Retry-After": "1"}
        ) from error
    if body.stream:
        events = _stream(server, request, asked, jobs)
        return StreamingResponse(events, media_type="text/event-stream")
    try:
        async for _ in _changes(request, jobs):
            pass
        return JSONResponse(answers.whole(server.speaker, asked, jobs))
    finally:
        _release(server, jobs)


def _told(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in found)


def _chat_rows(server: Server, body: ChatBody) -> list[Request]:
    prompt = server.speaker.chat([message.plain() for message in body.messages])
    return _rows(server, body, [prompt], server.speaker.special.turn_end, [])


def _completion_rows(server: Server, body: CompletionBody) -> list[Request]:
    speaker, texts = server.speaker, body.prompt
    texts = [texts] if isinstance(texts, str) else texts
    # A text that begins with nothing begins where a document does.
    prompts = [speaker.encode(text) or [speaker.special.end_of_text] for text in texts]
    suffix = speaker.encode(body.suffix) if body.suffix else []
    return _rows(server, body, prompts, speaker.special.end_of_text, suffix)


def _rows(
    server: Server,
    body: CompletionBody | ChatBody,
    prompts: Sequence[list[int]],
    end: int,
    suffix: list[int],
) -> list[Request]:
    """A request for each prompt and choice; the seed of a choice is its own."""
    speaker, limits = server.speaker, server.limits
    if not 1 <= len(prompts) * body.n <= limits.choices:
        raise BadData(
            f"{len(prompts)} prompts times n = {body.n}: ask for 1 to {limits.choices} choices"
        )
    if body.wanted is not None and body.wanted > limits.tokens:
        raise BadData(f"max_tokens is {body.wanted}, and at most {limits.tokens} are given")
    config: DecodingParams = pace(**server.options | body.decoding())
    stop = at_strings(body.stops, speaker.decode) if body.stops else None
    seed = secrets.randbits(60) if body.seed is None else body.seed
    rows = []
    for prompt in prompts:
        room = len(prompt) + len(suffix)
        masks = speaker.canvas([0] * room, body.wanted or limits.tokens)
        if body.wanted is not None and len(masks) < body.wanted:
            raise BadData(
                f"the prompt has {room} tokens and max_tokens is {body.wanted}, together more than "
                f"the context of {speaker.context}: shorten one of them"
            )
        for choice in range(body.n):
            draws = torch.Generator().manual_seed(seed + choice)
            row = Request(prompt, masks + suffix, config, end, draws, stop)
            check_request(speaker.model, row, speaker.special.mask, len(rows))
            rows.append(row)
    return rows


async def _changes(request: HttpRequest, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """Yields whenever jobs may have changed, until all are done.

    Raises:
        HTTPException: if one ran out of time or failed, or the client has left.
    """
    while True:
        for job in jobs:
            if isinstance(job.error, OutOfTime):
                raise HTTPException(504, str(job.error))
            if job.error is not None:
                raise HTTPException(500, str(job.error))
        done = all(job.done for job in jobs)
        yield
        if done:
            return
        await _any_changed(jobs)
        if await request.is_disconnected():
            raise HTTPException(499, "the client has left")


async def _any_changed(jobs: Sequence[Job]) -> None:
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(job.changed.wait()) for job in jobs]
    await asyncio.wait(waits, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    for job in jobs:
        job.changed.clear()


def _release(server: Server, jobs: Sequence[Job]) -> None:
    for job in jobs:
        server.batcher.cancel(job)


async def _stream(
    server: Server, request: HttpRequest, asked: answers.Asked, jobs: Sequence[Job]
) -> AsyncIterator[str]:
    head = answers.head(
        server.speaker, asked, "chat.completion.chunk" if asked.chat else "text_completion"
    )

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(head | {'choices': choices} | more)}\n\n"

    def piece(index: int, text: str, reason: str | None, first: bool) -> dict[str, Any]:
        role = {"role": "assistant"} if first else {}
        content = {"delta": role | {"content": text}} if asked.chat else {"text": text}
        return {"index": index, **content, "finish_reason": reason, "logprobs": None}

    sent = [""] * len(jobs)
    begun, ended = [False] * len(jobs), [False] * len(jobs)
    try:
        async for _ in _changes(request, jobs):
            for index, job in enumerate(jobs):
                text, reason = answers.settled(server.speaker, asked, job), answers.reason(job)
                new = text[len(sent[index]) :]
                if not ended[index] and (new or reason or not begun[index]):
                    yield event([piece(index, new, reason, not begun[index])])
                    sent[index], begun[index], ended[index] = text, True, reason is not None
        if asked.body.stream_options and asked.body.stream_options.include_usage:
            yield event([], usage=answers.usage(asked, jobs))
        yield "data: [DONE]\n\n"
    except HTTPException as error:
        yield f"data: {json.dumps(_error(error.detail, error.status_code))}\n\n"
    finally:
        _release(server, jobs)
