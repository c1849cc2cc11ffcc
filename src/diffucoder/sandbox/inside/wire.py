"""Framed JSON between two processes that do not trust each other.

A frame is a length of four bytes, big-endian, and that many bytes of JSON.
"""

import json
import os
import struct

# Bytes. A hostile guest may send this much; the judge's memory limit bounds what it becomes when
# decoded. The longest answer in a published suite, one of MBPP+, has 116 MiB.
MAX_FRAME = 128 * 2**20

_LENGTH = struct.Struct(">I")
_dumps, _loads, _read, _write = json.dumps, json.loads, os.read, os.write

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Malformed(Exception):
    """What was received is not a message of this protocol."""


class Closed(Exception):
    """The other side closed the channel or ended."""


def send(fd: int, message: Json) -> None:
    """Write one frame.

    Args:
        fd: Descriptor of the channel.
        message: What to send.

    Raises:
        Malformed: If it is too large.
        Closed: If the other side is gone.
    """
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

    Args:
        fd: Descriptor of the channel.

    Returns:
        The message.

    Raises:
        Malformed: If it is not JSON, or does not fit into memory.
        Closed: If the other side is gone.
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
