"""Arrays of numbers, text or bytes as numpy has them, in the crossing format."""

import re
import sys
from typing import Any

from .wire import Json, Malformed

TAG = "N"
# Numbers of all kinds, truth values and text; objects and records could hold anything.
_PLAIN = re.compile(r"[<>|=]?[biufcU][0-9]{1,6}")


def encode(value: Any) -> dict[str, Json] | None:
    """Encode an array of plain data.

    Args:
        value: Any object.

    Returns:
        The tagged form: data type, shape, and bytes in hexadecimal; None for any other object.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return None
    kind = numpy.ndarray.__getattribute__(value, "dtype").str
    if not _PLAIN.fullmatch(kind):
        return None
    raw = numpy.ndarray.tobytes(value).hex()
    return {TAG: [kind, list(numpy.ndarray.__getattribute__(value, "shape")), raw]}


def decode(payload: Any) -> Any:
    """Make an array of its encoded form.

    Args:
        payload: What `encode` put under its tag.

    Returns:
        A numpy array that can be written to.

    Raises:
        Malformed: If the payload is not of that form, or numpy is not installed.
        ValueError: If its parts do not fit together.
    """
    match payload:
        case [str() as kind, list() as shape, str() as raw] if _PLAIN.fullmatch(kind):
            if any(type(length) is not int or length < 0 for length in shape):
                raise Malformed("the shape of no array")
        case _:
            raise Malformed("an array of unknown form")
    try:
        import numpy
    except ImportError as error:
        raise Malformed("an array where there is no numpy") from error
    flat = numpy.frombuffer(bytes.fromhex(raw), dtype=kind)
    # A copy: tests may write to it, as the candidate could.
    return flat.reshape(shape).copy()
