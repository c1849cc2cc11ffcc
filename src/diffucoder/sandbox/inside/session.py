"""The judge's side of a guest: requests and replies, and what may be asked of the judge."""

import math
import sys
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any

from . import arrays
from .remote import CandidateError, Remote, error_class, identifier
from .values import Decoder, Encoder
from .wire import Closed, Malformed, receive, send


class GuestGone(BaseException):
    """The guest ended or broke the protocol. No test can catch it by `except Exception`."""


class NotAProgram(Exception):
    """The candidate's source does not compile: (error type, line)."""


class Session:
    """One guest, from its first request to its end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.over = False
        # What tests passed in and the guest may call; the only objects of ours it can name.
        self.lent: list[Any] = []
        # One stand-in for each object, so that a test can ask whether two are the same.
        self.stand_ins: dict[int, Any] = {}
        self.lines: set[int] = set()
        self.line_count = 0

    def load(
        self, code: str, names: list[str], entry: str | None, lines: bool = False
    ) -> dict[str, Any]:
        """Run the candidate's module; returns what it gave to `names`.

        lines: whether the guest shall say which lines of the code run, in `self.lines`.

        Raises CandidateError, or NotAProgram for source that does not compile.
        """
        self.line_count = len(code.splitlines())
        reply = self.exchange({"code": code, "names": names, "entry": entry, "lines": lines})
        if "syntax" in reply:
            kind, line = reply["syntax"]
            raise NotAProgram(identifier(kind), _line(line))
        self.raise_error(reply)
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
        self.raise_error(reply, ends_iteration=name == "__next__")
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
                if "line" in reply:
                    if (_line(reply["line"]) or math.inf) <= self.line_count:
                        self.lines.add(reply["line"])
                elif "op" in reply:
                    send(self.fd, self.serve(reply))
                else:
                    return reply
        except (Closed, Malformed) as error:
            self.over = True
            raise GuestGone from error

    def serve(self, message: dict[str, Any]) -> dict[str, Any]:
        """Call what a test passed in, on the guest's behalf."""
        try:
            decoder = Decoder(self.resolve)
            target = decoder.decode({"o": message["id"]})
            args, kwargs = decoder.decode(message["args"])
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
        array = arrays.encode(value)
        if array is not None:
            return array
        place = _library_name(value)
        if place is not None:
            # The guest has the same, and must never be able to have ours called: it may be `eval`.
            theirs = self.request("library", 0, "", place)
            if isinstance(theirs, Remote):
                return {"o": theirs._handle}
            raise Malformed("no such object of the library")
        self.lent.append(value)
        return {"h": len(self.lent) - 1}

    def resolve(self, tag: str, number: int) -> object:
        """The object of a handle: `o` is one of ours, the others are the guest's: `a` a coroutine,
        `E` a class of exceptions, `h` anything else.
        """
        if tag == "o":
            return self.lent[number]
        if tag == "a":
            return _awaited(self, number)
        if number not in self.stand_ins:
            self.stand_ins[number] = (_exceptions if tag == "E" else Remote)(self, number)
        return self.stand_ins[number]

    def raise_error(self, reply: dict[str, Any], ends_iteration: bool = False) -> None:
        """Raise what the candidate raised, as its nearest built-in exception and its own classes.

        Only where a test asks for the next item may it be StopIteration: elsewhere it would end
        the test's own loop, and `all(map(check, cases))` would be true after no case at all.
        """
        if "error" not in reply:
            return
        match reply["error"]:
            case [str() as base, str() as kind, str() as message, line, list() as classes, raised]:
                if base == "StopIteration" and not ends_iteration:
                    base = "RuntimeError"
                error = self.made_error(base, kind, classes)(message)
                error.kind, error.line = identifier(kind), _line(line)
                if raised is not None:
                    error.raised = Decoder(self.resolve).decode(raised)
                raise error
            case _:
                raise Malformed("an error of unknown form")

    def made_error(self, base: str, kind: str, classes: list[Any]) -> type[CandidateError]:
        """A class for an error: of those that tests know by name, all that it belongs to."""
        made = error_class(kind, base)
        known = [self.stand_ins[n] for n in classes if type(n) is int and n in self.stand_ins]
        own = [c for c in known if isinstance(c, type) and issubclass(c, CandidateError)]
        try:
            return type(made.__name__, (*own, made), {"base": made.base})
        except TypeError:
            # Classes of which Python makes no class: the guest sent what cannot have been raised.
            return made


def _exceptions(session: Session, number: int) -> type[CandidateError]:
    match session.request("apply", number, "lineage"):
        case [str() as name, str() as base]:
            return error_class(name, base)
        case _:
            raise Malformed("a class of unknown form")


async def _awaited(session: Session, number: int) -> Any:
    """A coroutine of the candidate's, which the guest runs to its end."""
    return session.request("apply", number, "run")


def _library_name(value: Any) -> tuple[str, str] | None:
    """Module and name of a function or class of the standard library; None for anything else."""
    if not isinstance(value, (type, BuiltinFunctionType, FunctionType)):
        return None
    module, name = value.__module__, value.__qualname__
    if not module or module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        found = attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None
    return (module, name) if found is value else None


def _pairs(changed: Any) -> list[tuple[Any, Any]]:
    if not isinstance(changed, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in changed
    ):
        raise Malformed("changes of unknown form")
    return [(number, contents) for number, contents in changed]


def _line(line: Any) -> int | None:
    return line if type(line) is int and 0 < line < 10**9 else None
