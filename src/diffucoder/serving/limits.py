"""Who may ask, and how much: checked before a body is read."""

import json
import secrets
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffucoder.serving.protocol import error


class Gate:
    """Refuses requests without the token (401) and bodies that are too long (413).

    Args:
        app: what is behind the gate.
        token: the bearer token to be shown; None lets all pass.
        body_bytes: length of a body, at most.
    """

    def __init__(self, app: ASGIApp, token: str | None, body_bytes: int) -> None:
        self.app, self.token, self.body_bytes = app, token, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self.token is not None and not _shows(self.token, headers.get(b"authorization", b"")):
            said = "no valid bearer token: send the header `Authorization: Bearer <token>`"
            await _answer(send, 401, error(said, "authentication_error", "invalid_api_key"))
            return
        body = await self._read(receive)
        if body is None:
            said = f"the body is longer than the {self.body_bytes} bytes that this server takes"
            await _answer(send, 413, error(said, "invalid_request_error", "body_too_long"))
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _read(self, receive: Receive) -> bytes | None:
        parts, size = [], 0
        while True:
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > self.body_bytes:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


def _shows(token: str, header: bytes) -> bool:
    return secrets.compare_digest(header, b"Bearer " + token.encode())


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
