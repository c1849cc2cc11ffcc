"""The endpoints: `/v1/completions`, `/v1/chat/completions`, `/v1/models` and `/health`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from diffucoder.decoding import Step
from diffucoder.errors import BadData, BadParameters
from diffucoder.serving.answers import Ask, Reader
from diffucoder.serving.batcher import Batcher, Closing, QueueFull, Ticket, TooLate
from diffucoder.serving.limits import Gate
from diffucoder.serving.protocol import ChatBody, CompletionBody, Form, error, usage

REASONS = {"end": "stop", "stop": "stop", "length": "length"}
# Status and kind of what can go wrong; whatever else is the server's own fault.
STATUS: dict[type[Exception], tuple[int, str]] = {
    BadData: (400, "invalid_request_error"),
    BadParameters: (400, "invalid_request_error"),
    QueueFull: (429, "rate_limit_error"),
    Closing: (503, "server_error"),
    TooLate: (504, "timeout_error"),
}
Event = tuple[int, Step | Exception]


def make_app(
    batcher: Batcher, reader: Reader, name: str, token: str | None, body_bytes: int
) -> FastAPI:
    """The application; closing it closes the batcher.

    Args:
        batcher: who decodes.
        reader: turns bodies into rows.
        name: of the model, as clients see it.
        token: bearer token that clients must show; None asks for none.
        body_bytes: length of a request's body, at most.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(title="diffucoder", lifespan=life, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, token=token, body_bytes=body_bytes)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:
        return await respond(body, lambda: reader.chat(body), Form(name, chat=True), request)

    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, request: Request) -> Response:
        form = Form(name, chat=False)
        return await respond(body, lambda: reader.completion(body), form, request)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": name, "object": "model", "created": 0, "owned_by": "diffucoder"}
        return {"object": "list", "data": [model]}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        running, waiting = batcher.load
        return {"status": "ok", "running": running, "waiting": waiting}

    async def respond(body: Any, read: Any, form: Form, request: Request) -> Response:
        try:
            # Tokenizing a long text takes a while, and others are being served.
            ask = await asyncio.to_thread(read)
            events, tickets = _submit(batcher, ask)
        except Exception as problem:
            return _problem(problem)
        if body.stream:
            counted = body.stream_options is not None and body.stream_options.include_usage
            pieces = _stream(batcher, ask, events, tickets, form, counted)
            return StreamingResponse(pieces, media_type="text/event-stream")
        return await _whole(batcher, ask, events, tickets, form, request)

    return app


def _submit(batcher: Batcher, ask: Ask) -> tuple["asyncio.Queue[Event]", list[Ticket]]:
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def deliver(index: int, step: Step | Exception) -> None:
        # After the loop's end nobody is there to be told.
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, (index, step))

    rows = [
        (request, lambda step, index=index: deliver(index, step))
        for index, (request, _) in enumerate(ask.rows)
    ]
    return events, batcher.submit(rows)


async def _whole(
    batcher: Batcher,
    ask: Ask,
    events: "asyncio.Queue[Event]",
    tickets: list[Ticket],
    form: Form,
    request: Request,
) -> Response:
    """The answer in one piece; a client that leaves frees its rows."""
    collecting = asyncio.ensure_future(_collect(ask, events))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            return Response(status_code=499)
        reasons = collecting.result()
    except Exception as problem:
        return _problem(problem)
    finally:
        batcher.cancel(tickets)
        collecting.cancel()
        leaving.cancel()
    writers = [writer for _, writer in ask.rows]
    used = usage(ask.prompt_tokens, sum(writer.settled for writer in writers))
    return JSONResponse(form.whole([writer.shown for writer in writers], reasons, used))


async def _collect(ask: Ask, events: "asyncio.Queue[Event]") -> list[str]:
    reasons: dict[int, str] = {}
    while len(reasons) < len(ask.rows):
        index, step = await events.get()
        if isinstance(step, Exception):
            raise step
        ask.rows[index][1].take(step)
        if step.completion is not None:
            reasons[index] = REASONS[step.completion.reason]
    return [reasons[index] for index in range(len(ask.rows))]


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(
    batcher: Batcher,
    ask: Ask,
    events: "asyncio.Queue[Event]",
    tickets: list[Ticket],
    form: Form,
    counted: bool,
) -> AsyncIterator[str]:
    """Server-sent events, one whenever the text of a row has grown; closed when a client leaves."""
    started: set[int] = set()
    finished = 0
    try:
        while finished < len(ask.rows):
            index, step = await events.get()
            if isinstance(step, Exception):
                yield _event(error(str(step), _status(step)[1]))
                return
            text = ask.rows[index][1].take(step)
            reason = step.completion and REASONS[step.completion.reason]
            finished += reason is not None
            if text or reason:
                yield _event(form.piece(index, text, reason, first=index not in started))
                started.add(index)
        if counted:
            written = sum(writer.settled for _, writer in ask.rows)
            yield _event(form.last(usage(ask.prompt_tokens, written)))
        yield "data: [DONE]\n\n"
    finally:
        batcher.cancel(tickets)


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _status(problem: Exception) -> tuple[int, str]:
    return STATUS.get(type(problem), (500, "server_error"))


def _problem(problem: Exception) -> Response:
    status, kind = _status(problem)
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(error(str(problem), kind), status_code=status, headers=headers)


def _invalid(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    said = f"{place}: {first['msg']}" if place else first["msg"]
    return JSONResponse(error(said, "invalid_request_error"), status_code=400)
