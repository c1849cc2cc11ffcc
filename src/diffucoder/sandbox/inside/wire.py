"""Framed JSON between two processes that need not trust each other.

A frame is a length of four bytes, big-endian, and that many bytes of JSON.
"""

import json
import os
import struct

# A hostile guest may send this much for nothing; the judge's own memory bounds what it becomes.
# The longest answer of a published suite that crosses whole, one of MBPP+, has 116 MiB.
MAX_FRAME = 128 * 2**20

_LENGTH = struct.Struct(">I")
_dumps, _loads, _read, _write = json.dumps, json.loads, os.read, os.write

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Malformed(Exception):
    """What came over the wire is not a message of this protocol."""


class Closed(Exception):
    """The other side is gone."""


def send(fd: int, message: Json) -> None:
    """Write one frame. Raises Malformed when it is too large, Closed when nobody reads."""
    body = _dumps(message, separators=(",", ":"), check_circular=False).encode("ascii")
    if len(body) > MAX_FRAME:
        raise Malformed(f"a message of {len(body)} bytes")
    view = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        while view:
            view = view[_write(fd, view) :]
    except OSError as error:
        raise Closed from error


def receive(fd: int) -> Json:
    """Read one frame.

    Raises Malformed for anything but JSON that fits into memory, Closed at the end.
    """
    (length,) = _LENGTH.unpack(_exactly(fd, _LENGTH.size))
    if length > MAX_FRAME:
        raise Malformed(f"a message of {length} bytes")
    try:
        return _loads(_exactly(fd, length))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Malformed(f"not JSON: {type(error).__name__}") from error


def _exactly(fd: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        try:
            part = _read(fd, min(count, 2**20))
        except OSError as error:
            raise Closed from error
        if not part:
            raise Closed
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
