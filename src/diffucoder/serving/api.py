"""The HTTP side: `/v1/completions`, `/v1/chat/completions`, `/v1/models`, `/health`.

Answers stream as text that is stable from the left: a diffusion model writes in any order, and
what was sent cannot be taken back.
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
from diffucoder.serving.batching import Batcher, QueueFull, RequestState, RequestTimeout
from diffucoder.serving.chat_model import ChatModel, decoding_params
from diffucoder.serving.protocol import IGNORED, ChatBody, CompletionBody

# Seconds between two checks of whether a client is still connected.
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """What a client may ask.

    Attributes:
        body_bytes: size of a request's body, in bytes.
        body_seconds: time in which a request's body has to arrive, in seconds.
        tokens: length of a completion, in tokens; also what is given where none are asked for.
        choices: completions of one request: prompts times `n`.
        max_batch_size: rows that are decoded together.
        max_queue: rows that may wait for a place in the batch.
        seconds: time that a request may take, waiting included, in seconds.
    """

    body_bytes: int = 2**20
    body_seconds: float = 10.0
    tokens: int = 256
    choices: int = 16
    max_batch_size: int = 16
    max_queue: int = 64
    seconds: float = 120.0


@dataclass(frozen=True)
class AppState:
    """What the endpoints share.

    Attributes:
        chat_model: the checkpoint.
        batcher: decodes the requests of all clients.
        limits: what a client may ask.
        options: arguments of `decoding_params` where a client asks for nothing else.
        token: the bearer token that clients have to send; None accepts all clients.
    """

    chat_model: ChatModel
    batcher: Batcher
    limits: Limits
    options: dict[str, Any]
    token: str | None


def application(
    chat_model: ChatModel,
    limits: Limits,
    options: dict[str, Any] | None = None,
    token: str | None = None,
) -> Starlette:
    """The application, with a thread that decodes while it runs.

    Args:
        chat_model: the checkpoint that answers.
        limits: what a client may ask.
        options: arguments of `decoding_params` where a client asks for nothing else.
        token: what clients have to send as `Authorization: Bearer`; None accepts all clients.
    """
    batcher = Batcher(chat_model, limits.max_batch_size, limits.max_queue, limits.seconds)
    app_state = AppState(chat_model, batcher, limits, options or {}, token)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    async def health(request: HttpRequest) -> Response:
        active, waiting = batcher.load
        return JSONResponse({"status": "ok", "active": active, "waiting": waiting})

    async def models(request: HttpRequest) -> Response:
        _authorise(app_state, request)
        entry = {"id": chat_model.name, "object": "model", "created": 0, "owned_by": "diffucoder"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def completions(request: HttpRequest) -> Response:
        return await _answer(app_state, request, CompletionBody, _completion_rows)

    async def chat(request: HttpRequest) -> Response:
        return await _answer(app_state, request, ChatBody, _chat_rows)

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


def _authorise(app_state: AppState, request: HttpRequest) -> None:
    given = request.headers.get("authorization", "").encode()
    if app_state.token and not hmac.compare_digest(given, f"Bearer {app_state.token}".encode()):
        raise HTTPException(
            401,
            "give the server's token as `Authorization: Bearer TOKEN`",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def _body(app_state: AppState, request: HttpRequest) -> dict[str, Any]:
    # A web page may not send this type to another origin without a preflight request, which fails.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "send the body as application/json")
    limit, parts, size = app_state.limits.body_bytes, [], 0
    try:
        async with asyncio.timeout(app_state.limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"the body is larger than {limit} bytes")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, "the body took too long to arrive") from error
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    # Clients send null for fields that they do not use.
    return {k: v for k, v in body.items() if k not in IGNORED and v is not None}


async def _answer(
    app_state: AppState,
    request: HttpRequest,
    schema: type[CompletionBody] | type[ChatBody],
    rows_of: Callable[[AppState, Any], list[Request]],
) -> Response:
    _authorise(app_state, request)
    try:
        body = schema.model_validate(await _body(app_state, request))
        # Tokenizing much text takes time that other clients should not wait for.
        rows = await asyncio.to_thread(rows_of, app_state, body)
    except ValidationError as error:
        raise HTTPException(400, _mistakes(error)) from error
    except (BadData, BadParameters) as error:
        raise HTTPException(400, str(error)) from error
    parsed = answers.ParsedRequest(body, rows, issubclass(schema, ChatBody))
    try:
        states = app_state.batcher.submit(rows)
    except QueueFull as error:
        raise HTTPException(
            429, "too many requests are waiting: try again later", headers={"Retry-After": "1"}
        ) from error
    if body.stream:
        events = _stream(app_state, request, parsed, states)
        return StreamingResponse(events, media_type="text/event-stream")
    try:
        async for _ in _changes(request, states):
            pass
        return JSONResponse(answers.response(app_state.chat_model, parsed, states))
    finally:
        _release(app_state, states)


def _mistakes(error: ValidationError) -> str:
    errors = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in errors)


def _chat_rows(app_state: AppState, body: ChatBody) -> list[Request]:
    prompt = app_state.chat_model.chat([message.plain() for message in body.messages])
    return _rows(app_state, body, [prompt], app_state.chat_model.special.turn_end, [])


def _completion_rows(app_state: AppState, body: CompletionBody) -> list[Request]:
    chat_model, texts = app_state.chat_model, body.prompt
    texts = [texts] if isinstance(texts, str) else texts
    # An empty text begins where a document does.
    prompts = [chat_model.encode(text) or [chat_model.special.end_of_text] for text in texts]
    suffix = chat_model.encode(body.suffix) if body.suffix else []
    return _rows(app_state, body, prompts, chat_model.special.end_of_text, suffix)


def _rows(
    app_state: AppState,
    body: CompletionBody | ChatBody,
    prompts: Sequence[list[int]],
    end: int,
    suffix: list[int],
) -> list[Request]:
    """A request for each prompt and choice; the seed of a choice is its own."""
    chat_model, limits = app_state.chat_model, app_state.limits
    if not 1 <= len(prompts) * body.n <= limits.choices:
        raise BadData(
            f"{len(prompts)} prompts times n = {body.n}: ask for 1 to {limits.choices} choices"
        )
    length = body.completion_length
    if length is not None and length > limits.tokens:
        raise BadData(f"max_tokens is {length}, and at most {limits.tokens} are given")
    config: DecodingParams = decoding_params(**app_state.options | body.decoding())
    stop = at_strings(body.stops, chat_model.decode) if body.stops else None
    seed = secrets.randbits(60) if body.seed is None else body.seed
    rows = []
    for prompt in prompts:
        room = len(prompt) + len(suffix)
        masks = chat_model.canvas([0] * room, length or limits.tokens)
        if length is not None and len(masks) < length:
            raise BadData(
                f"the prompt has {room} tokens and max_tokens is {length}, together more than "
                f"the context of {chat_model.context}: shorten one of them"
            )
        for choice in range(body.n):
            generator = torch.Generator().manual_seed(seed + choice)
            row = Request(prompt, masks + suffix, config, end, generator, stop)
            check_request(chat_model.model, row, chat_model.special, len(rows))
            rows.append(row)
    return rows


async def _changes(request: HttpRequest, states: Sequence[RequestState]) -> AsyncIterator[None]:
    """Yields whenever requests may have changed, until all are done.

    Raises:
        HTTPException: if a request ran out of time or failed, or the client has disconnected.
    """
    while True:
        for state in states:
            if isinstance(state.error, RequestTimeout):
                raise HTTPException(504, str(state.error))
            if state.error is not None:
                raise HTTPException(500, str(state.error))
        done = all(state.done for state in states)
        yield
        if done:
            return
        await _any_changed(states)
        if await request.is_disconnected():
            raise HTTPException(499, "the client has left")


async def _any_changed(states: Sequence[RequestState]) -> None:
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(state.changed.wait()) for state in states]
    await asyncio.wait(waits, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    for state in states:
        state.changed.clear()


def _release(app_state: AppState, states: Sequence[RequestState]) -> None:
    for state in states:
        app_state.batcher.cancel(state)


async def _stream(
    app_state: AppState,
    request: HttpRequest,
    parsed: answers.ParsedRequest,
    states: Sequence[RequestState],
) -> AsyncIterator[str]:
    envelope = answers.envelope(
        app_state.chat_model, parsed, "chat.completion.chunk" if parsed.chat else "text_completion"
    )

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(envelope | {'choices': choices} | more)}\n\n"

    def piece(index: int, text: str, reason: str | None, first: bool) -> dict[str, Any]:
        role = {"role": "assistant"} if first else {}
        content = {"delta": role | {"content": text}} if parsed.chat else {"text": text}
        return {"index": index, **content, "finish_reason": reason, "logprobs": None}

    sent = [""] * len(states)
    started, ended = [False] * len(states), [False] * len(states)
    try:
        async for _ in _changes(request, states):
            for index, state in enumerate(states):
                text = answers.stable_text(app_state.chat_model, parsed, state)
                reason = answers.finish_reason(state)
                new = text[len(sent[index]) :]
                if not ended[index] and (new or reason or not started[index]):
                    yield event([piece(index, new, reason, not started[index])])
                    sent[index], started[index], ended[index] = text, True, reason is not None
        if parsed.body.stream_options and parsed.body.stream_options.include_usage:
            yield event([], usage=answers.usage(parsed, states))
        yield "data: [DONE]\n\n"
    except HTTPException as error:
        yield f"data: {json.dumps(_error(error.detail, error.status_code))}\n\n"
    finally:
        _release(app_state, states)
