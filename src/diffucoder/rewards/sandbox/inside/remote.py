"""The judge's side of a guest: requests, and stand-ins for the objects that live there."""

import builtins
import keyword
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .values import Decoder, Encoder
from .wire import Closed, Malformed, receive, send


class CandidateError(Exception):
    """An exception that the candidate's code raised; also of the built-in class it was."""

    kind = "Exception"
    base: type[BaseException] = Exception
    line: int | None = None


class GuestGone(BaseException):
    """The guest ended or broke the protocol. No test can catch it by `except Exception`."""


class Remote:
    """An object of the candidate's that is not plain data.

    It can be called, iterated, indexed and asked for attributes: the guest does it and plain
    results come back. It cannot be compared or used as a truth value: the candidate would decide
    the test.
    """

    __slots__ = ("_handle", "_session")

    def __init__(self, session: "Session", handle: int) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._session.request("call", self._handle, "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._session.request("get", self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._session.request("set", self._handle, name, (value,))

    def __iter__(self) -> Iterator[Any]:
        return self._method("__iter__")

    def __next__(self) -> Any:
        return self._method("__next__")

    def __getitem__(self, key: Any) -> Any:
        return self._method("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._method("__setitem__", key, value)

    def __len__(self) -> int:
        return self._method("__len__")

    def __str__(self) -> str:
        return self._method("__str__")

    def __repr__(self) -> str:
        return self._method("__repr__")

    def _method(self, name: str, *args: Any) -> Any:
        return self._session.request("method", self._handle, name, args)

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("an object of the candidate's cannot decide a test: compare plain data")

    __bool__ = __contains__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse  # type: ignore[assignment]
    __hash__ = _refuse  # type: ignore[assignment]


class RemoteMatch(Remote):
    """A regular expression's match: always true, which says no more than returning True."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


class Session:
    """One guest, from its first request to its end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.over = False
        # What tests passed in and the guest may call; the only objects of ours it can name.
        self.lent: list[Any] = []

    def load(self, code: str, names: list[str], entry: str | None) -> dict[str, Any]:
        """Run the candidate's module; returns what it gave to `names`.

        Raises CandidateError, or NotAProgram for source that does not compile.
        """
        reply = self.exchange({"code": code, "names": names, "entry": entry})
        if "syntax" in reply:
            kind, line = reply["syntax"]
            raise NotAProgram(_name(kind), _line(line))
        raise_error(reply)
        decoder = Decoder(self.resolve)
        found = reply.get("ok")
        if not isinstance(found, dict):
            raise GuestGone
        # No other names, whatever the guest sends: it must not replace what is the test's.
        wanted = (name for name in (*names, "") if name in found)
        return {name: decoder.decode(found[name]) for name in wanted}

    def request(
        self,
        op: str,
        handle: int,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Have the guest do something with an object of its own; returns the result."""
        encoder = Encoder(self.lend)
        arguments = encoder.encode((args, kwargs or {}))
        known = encoder.containers
        reply = self.exchange({"op": op, "id": handle, "name": name, "args": arguments})
        decoder = Decoder(self.resolve, known)
        result = decoder.decode(reply["ok"]) if "ok" in reply else None
        for number, contents in _pairs(reply.get("changed", [])):
            decoder.refill(number, contents)
        raise_error(reply, ends_iteration=name == "__next__")
        if "ok" not in reply:
            raise Malformed("a reply without a result")
        return result

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and serve the guest's calls until its reply."""
        if self.over:
            raise GuestGone
        try:
            send(self.fd, message)
            while True:
                reply = receive(self.fd)
                if not isinstance(reply, dict):
                    raise Malformed("a message that is not an object")
                if "op" not in reply:
                    return reply
                send(self.fd, self.serve(reply))
        except (Closed, Malformed) as error:
            self.over = True
            raise GuestGone from error

    def serve(self, message: dict[str, Any]) -> dict[str, Any]:
        """Call what a test passed in, on the guest's behalf."""
        try:
            target = self.lent[message["id"]]
            args, kwargs = Decoder(self.resolve).decode(message["args"])
        except (LookupError, TypeError, ValueError) as error:
            raise Malformed("a call of something that was not passed in") from error
        try:
            result = next(target) if message["op"] == "next" else target(*args, **kwargs)
            return {"ok": Encoder(self.lend).encode(result)}
        except Exception as error:
            base = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
            return {"error": base.__name__}

    def lend(self, value: object) -> dict[str, Any]:
        """Name an object that is not plain data by number."""
        if isinstance(value, Remote):
            if value._session is not self:
                raise GuestGone
            return {"o": value._handle}
        self.lent.append(value)
        return {"h": len(self.lent) - 1}

    def resolve(self, tag: str, number: int) -> object:
        """The object of a handle: `h` or `H`, a match, of the guest's; `o` one of ours."""
        if tag == "o":
            return self.lent[number]
        return (RemoteMatch if tag == "H" else Remote)(self, number)


class NotAProgram(Exception):
    """The candidate's source does not compile: (error type, line)."""


def raise_error(reply: dict[str, Any], ends_iteration: bool = False) -> None:
    """Raise what the candidate raised, as its nearest built-in exception.

    Only where a test asks for the next item may it be StopIteration: elsewhere it would end the
    test's own loop, and `all(map(check, cases))` would be true after no case at all.
    """
    if "error" not in reply:
        return
    match reply["error"]:
        case [str() as base_name, str() as kind, str() as message, line]:
            if base_name == "StopIteration" and not ends_iteration:
                base_name = "RuntimeError"
            error = _error_class(base_name)(message)
            error.kind, error.line = _name(kind), _line(line)
            raise error
        case _:
            raise Malformed("an error of unknown form")


_classes: dict[str, Callable[[str], CandidateError]] = {}


def _error_class(base_name: str) -> Callable[[str], CandidateError]:
    base = getattr(builtins, base_name, None)
    if not (isinstance(base, type) and issubclass(base, BaseException)):
        raise Malformed("an error of unknown form")
    if base_name not in _classes:
        # SystemExit and its like must not end the judge: they keep their name only.
        bases = (CandidateError, base) if issubclass(base, Exception) else (CandidateError,)
        made = type(base_name, bases, {"base": base, "__init__": _set_message})
        _classes[base_name] = made
    return _classes[base_name]


def _set_message(self: CandidateError, message: str) -> None:
    # Not through the built-in's __init__: some want more arguments than a message.
    self.args = (message,)


def _pairs(changed: Any) -> list[tuple[Any, Any]]:
    if not isinstance(changed, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in changed
    ):
        raise Malformed("changes of unknown form")
    return [(number, contents) for number, contents in changed]


def _name(kind: Any) -> str:
    known = isinstance(kind, str) and kind.isidentifier() and not keyword.iskeyword(kind)
    return kind[:80] if known else "Exception"


def _line(line: Any) -> int | None:
    return line if type(line) is int and 0 < line < 10**9 else None
