"""The closed format in which Python values cross between judge and guest.

JSON scalars and lists stand for themselves; everything else is an object with one tagged entry.
Mutable containers are numbered in the order in which they appear, so that two values which share
one list still share it on the other side, and a list that the candidate changes in place can be
changed in place for the test. Nothing in the format names code: an object that is not plain data
crosses as a number, a handle, which only its owner can resolve.

Whatever the sender wrote, decoding takes time linear in its length between two points at which a
signal can interrupt it.
"""

from array import array
from collections import Counter, deque, namedtuple
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from . import arrays
from .wire import Json, Malformed

MAX_DEPTH = 150
# json and int() refuse longer decimal numbers; larger integers cross in hexadecimal.
_PLAIN_INT = 10**4000
# Reducing a fraction takes time quadratic in its length, in one call that no signal interrupts.
MAX_FRACTION_BITS = 2**16

_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
}
# The arguments of each, in order; a time with a zone is not plain data.
_MOMENTS: dict[type, tuple[str, ...]] = {
    datetime: ("year", "month", "day", "hour", "minute", "second", "microsecond"),
    date: ("year", "month", "day"),
    time: ("hour", "minute", "second", "microsecond"),
    timedelta: ("days", "seconds", "microseconds"),
}
# Letters; making a class with many names takes long, in one call that no signal interrupts.
_NAMES_LENGTH = 2000
MUTABLE = (list, dict, set, bytearray, deque)
_SAME_IN_JSON = {str, bool, float, type(None)}
_NUMBERS = {int, bool, float}
# What Python raises for a payload that no encoder sends.
_WRONG = (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, StopIteration)
# This number of floats or more cross as their bytes: writing and reading them as text takes ten
# times as long.
_PACKED = 32


class Encoder:
    """Turns values into JSON.

    Args:
        export: Gives the handle of an object that is not plain data, as a tagged entry.
        known: Containers that the other side already holds, by number.
        simplify: Gives plain data that represents an object, or the object itself.

    Attributes:
        containers: Mutable containers of the message, by number.
        numbers: The number of each, by its id.
    """

    def __init__(
        self,
        export: Callable[[object], dict[str, Json]],
        known: Iterable[object] = (),
        simplify: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.export, self.simplify = export, simplify
        # Kept, so that no id is used twice while the message is made.
        self.containers = list(known)
        self.numbers = {id(container): i for i, container in enumerate(self.containers)}

    def encode(self, value: Any, depth: int = 0) -> Json:
        """Encode a value.

        Args:
            value: Any object.
            depth: Containers around it.

        Returns:
            Its JSON form.

        Raises:
            Malformed: If it is nested too deeply.
        """
        kind = type(value)
        if kind is str or kind is bool or kind is float or value is None:
            return value
        if kind is int:
            return value if -_PLAIN_INT < value < _PLAIN_INT else {"i": hex(value)}
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        number = self.numbers.get(id(value))
        if number is not None:
            return {"r": number}
        return self._encode_object(value, depth + 1)

    def _encode_object(self, value: Any, depth: int) -> Json:
        # The base types' own methods: a subclass must not decide how it is encoded.
        if isinstance(value, MUTABLE):
            self.numbers[id(value)] = len(self.containers)
            self.containers.append(value)
            return self._tagged_contents(value, depth)
        if isinstance(value, tuple):
            members = self._each(tuple.__iter__(value), depth)
            names = _names(type(value))
            return {"n": [type(value).__name__, names, members]} if names else {"t": members}
        if isinstance(value, (str, bool, int, float)):
            return self.encode(_plain_scalar(value))
        if isinstance(value, frozenset):
            return {"z": self._each(frozenset.__iter__(value), depth)}
        if isinstance(value, bytes):
            return {"b": bytes.hex(value)}
        if isinstance(value, complex):
            return {"c": [value.real, value.imag]}
        if isinstance(value, range):
            return {"R": [self.encode(part) for part in (value.start, value.stop, value.step)]}
        if isinstance(value, Decimal):
            return {"D": Decimal.__str__(value)}
        if isinstance(value, Fraction):
            return {"F": [hex(value.numerator), hex(value.denominator)]}
        if isinstance(value, tuple(_MOMENTS)) and getattr(value, "tzinfo", None) is None:
            kind = next(kind for kind in _MOMENTS if isinstance(value, kind))
            return {"M": [kind.__name__, *(getattr(value, name) for name in _MOMENTS[kind])]}
        if value is Ellipsis:
            return {"e": None}
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return {"T": value.__name__}
        simple = self.simplify(value)
        return self.export(value) if simple is value else self.encode(simple, depth)

    def _tagged_contents(self, value: Any, depth: int) -> Json:
        contents = self.contents(value, depth)
        if isinstance(value, list):
            return contents if isinstance(contents, list) else {"l": contents}
        tag = next(t for kind, t in _MUTABLE_TAGS.items() if isinstance(value, kind))
        return {tag: contents}

    def contents(self, value: Any, depth: int = 1) -> Json:
        """Encode what is in a mutable container, without the container itself.

        Args:
            value: The container.
            depth: Containers around its contents.

        Returns:
            The JSON form of the contents.
        """
        if isinstance(value, list):
            return self._each(list.__iter__(value), depth)
        if isinstance(value, dict):
            items = list(dict.items(value))
            return [[self.encode(k, depth), self.encode(v, depth)] for k, v in items]
        if isinstance(value, set):
            return self._each(set.__iter__(value), depth)
        if isinstance(value, bytearray):
            return bytearray.hex(value)
        return self._each(deque.__iter__(value), depth)

    def _each(self, values: Iterable[Any], depth: int) -> Json:
        listed = list(values)
        # In C: one by one, millions of values take seconds.
        kinds = set(map(type, listed))
        if kinds == {float} and len(listed) >= _PACKED:
            return {"f": array("d", listed).tobytes().hex()}
        if kinds <= _SAME_IN_JSON:
            return listed
        if kinds <= _NUMBERS and min(listed) > -_PLAIN_INT and max(listed) < _PLAIN_INT:
            return listed
        encode = self.encode
        return [encode(value, depth) for value in listed]


class Decoder:
    """Turns JSON back into values; runs no code that the sender chose.

    Args:
        resolve: Gives the object of a tag of `HANDLES` and a number.
        known: Containers that the message may refer to, by number.

    Attributes:
        containers: The known containers and those of the message, by number.
    """

    HANDLES = ("h", "a", "E", "o")

    def __init__(self, resolve: Callable[[str, int], object], known: Iterable[object] = ()) -> None:
        self.resolve = resolve
        self.containers: list[Any] = list(known)

    def decode(self, tree: Json) -> Any:
        """Decode a JSON tree.

        Args:
            tree: The tree.

        Returns:
            Its value.

        Raises:
            Malformed: If no encoder sends such a tree.
        """
        try:
            return self._decode(tree)
        except Malformed:
            raise
        except _WRONG as error:
            raise Malformed(type(error).__name__) from error

    def refill(self, number: Json, contents: Json) -> None:
        """Replace the contents of a container, in place.

        Args:
            number: Number of the container.
            contents: Its new contents, encoded.

        Raises:
            Malformed: If there is no such container, or no encoder sends such contents.
        """
        try:
            container = self.containers[_index(number)]
            self._fill(container, contents)
        except _WRONG as error:
            raise Malformed(type(error).__name__) from error

    def _decode(self, tree: Json) -> Any:
        if isinstance(tree, list):
            return self._new([], tree)
        if not isinstance(tree, dict):
            return tree
        ((tag, payload),) = tree.items()
        if tag in _MUTABLE_KINDS:
            return self._new(_MUTABLE_KINDS[tag](), payload)
        if tag == "r":
            return self.containers[_index(payload)]
        if tag in self.HANDLES:
            return self.resolve(tag, _index(payload))
        return _IMMUTABLE[tag](self, payload)

    def _new(self, container: Any, contents: Json) -> Any:
        self.containers.append(container)
        self._fill(container, contents)
        return container

    def _fill(self, container: Any, contents: Any) -> None:
        fresh: Any
        if isinstance(container, bytearray):
            fresh = _octets(contents)
        elif isinstance(container, dict):
            fresh = self._mapping(contents)
        elif isinstance(container, set):
            fresh = _distinct(self.many(contents))
        else:
            fresh = self.many(contents)
        # Last, so that malformed contents change nothing.
        container.clear()
        (container.update if isinstance(container, (dict, set)) else container.extend)(fresh)

    def _mapping(self, contents: Json) -> dict[Any, Any]:
        mapping = {}
        # One by one, as in a set: keys with equal hashes make each step slow, and a signal can
        # interrupt only between steps.
        for item in _listed(contents):
            key, value = self.many(item)
            mapping[key] = value
        return mapping

    def many(self, trees: Json) -> list[Any]:
        """Decode a list of trees, or packed floats.

        Args:
            trees: The list, or the packed form.

        Returns:
            Their values.

        Raises:
            Malformed: If it is neither.
        """
        if isinstance(trees, dict):
            return _floats(trees)
        listed = _listed(trees)
        if set(map(type, listed)) <= _DECODED:
            return listed
        return [self._decode(tree) for tree in listed]


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(type(value).__name__)


def _listed(tree: Json) -> list[Any]:
    if type(tree) is not list:
        raise Malformed("a list was expected")
    return tree


def _text(payload: Json) -> str:
    if type(payload) is not str:
        raise Malformed("text was expected")
    return payload


def _index(number: Json) -> int:
    if type(number) is not int or number < 0:
        raise Malformed("a number was expected")
    return number


def _integer(payload: Json) -> int:
    return int(_text(payload), 16)


def _octets(payload: Json) -> bytes:
    return bytes.fromhex(_text(payload))


def _floats(payload: dict[str, Json]) -> list[float]:
    if len(payload) != 1:
        raise Malformed("packed floats were expected")
    floats = array("d")
    floats.frombytes(_octets(payload["f"]))
    return floats.tolist()


def _range(decoder: Decoder, payload: Json) -> range:
    start, stop, step = decoder.many(payload)
    return range(start, stop, step)


def _complex(payload: Json) -> complex:
    real, imaginary = _listed(payload)
    if type(real) is not float or type(imaginary) is not float:
        raise Malformed("two floats were expected")
    return complex(real, imaginary)


def _fraction(payload: Json) -> Fraction:
    parts = [_integer(part) for part in _listed(payload)]
    if any(part.bit_length() > MAX_FRACTION_BITS for part in parts):
        raise Malformed("a fraction too long")
    numerator, denominator = parts
    return Fraction(numerator, denominator)


def _names(kind: type) -> list[Json]:
    """Names of the members of a class of tuples, if it has any and can be made from them."""
    names = [str(name) for name in getattr(kind, "_fields", ())]
    return list(names) if _usable(kind.__name__, names) else []


def _usable(kind: str, names: Sequence[str]) -> bool:
    """Whether these names are short and hide no attribute of a tuple."""
    proper = all(name.isidentifier() for name in (kind, *names))
    hides = any(name[0] == "_" or hasattr(tuple, name) for name in names)
    return proper and not hides and sum(map(len, (kind, *names))) <= _NAMES_LENGTH


def _record(decoder: Decoder, payload: Json) -> tuple[Any, ...]:
    kind, names, members = _listed(payload)
    fields = tuple(_text(field) for field in _listed(names))
    if not _usable(_text(kind), fields):
        raise Malformed("names that no tuple has")
    return _record_class(kind, fields)(*decoder.many(members))


@lru_cache(maxsize=64)
def _record_class(name: str, fields: tuple[str, ...]) -> type:
    return namedtuple(name, fields)


def _moment(payload: Json) -> Any:
    name, *numbers = _listed(payload)
    if set(map(type, numbers)) != {int}:
        raise Malformed("whole numbers were expected")
    return next(kind for kind in _MOMENTS if kind.__name__ == name)(*numbers)


def _distinct(values: list[Any]) -> set[Any]:
    distinct = set()
    for value in values:
        distinct.add(value)
    return distinct


def _ellipsis(payload: Json) -> Any:
    if payload is not None:
        raise Malformed("nothing was expected")
    return ...


_DECODED = {*_SAME_IN_JSON, int}
_MUTABLE_TAGS = {Counter: "C", dict: "d", set: "s", bytearray: "B", deque: "q"}
_MUTABLE_KINDS: dict[str, Callable[[], Any]] = {
    "l": list,
    **{tag: kind for kind, tag in _MUTABLE_TAGS.items()},
}
_IMMUTABLE: dict[str, Callable[[Decoder, Any], Any]] = {
    "i": lambda _, payload: _integer(payload),
    "t": lambda decoder, payload: tuple(decoder.many(payload)),
    "n": _record,
    "M": lambda _, payload: _moment(payload),
    "z": lambda decoder, payload: frozenset(_distinct(decoder.many(payload))),
    "b": lambda _, payload: _octets(payload),
    "c": lambda _, payload: _complex(payload),
    "R": _range,
    "D": lambda _, payload: Decimal(_text(payload)),
    "F": lambda _, payload: _fraction(payload),
    "e": lambda _, payload: _ellipsis(payload),
    "T": lambda _, payload: _TYPES[_text(payload)],
    arrays.TAG: lambda _, payload: arrays.decode(payload),
}
