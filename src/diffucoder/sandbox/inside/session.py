"""The judge's side of a guest: requests, replies, and the guest's calls of the judge."""

import sys
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any

from . import arrays
from .remote import CandidateError, Remote, error_class, identifier
from .values import Decoder, Encoder
from .wire import Closed, Malformed, receive, send


class GuestGone(BaseException):
    """The guest ended or broke the protocol. A test cannot catch it by `except Exception`."""


class NotAProgram(Exception):
    """The candidate's source does not compile; the arguments are the error's type and line."""


class GuestSession:
    """One guest, from its first request to its end.

    Attributes:
        fd: Descriptor of the channel to the guest.
        over: Whether the guest can no longer be used.
        lent: What tests passed in and the guest may call; it can name no other object of ours.
        stand_ins: One stand-in per object of the guest, so that a test can ask whether two are
            the same.
        lines: Lines of the candidate's code that ran, if they were requested.
        line_count: Lines of the candidate's code.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.over = False
        self.lent: list[Any] = []
        self.stand_ins: dict[int, Any] = {}
        self.lines: set[int] = set()
        self.line_count = 0

    def load(
        self, code: str, names: list[str], entry: str | None, lines: bool = False
    ) -> dict[str, Any]:
        """Run the candidate's module.

        Args:
            code: Source of the candidate.
            names: Names that the tests use.
            entry: The function under test; None for the last that the code defines.
            lines: Whether the guest shall report the lines of the code that run; they are
                collected in `self.lines`.

        Returns:
            The values of those `names` that the module defines; under "" the last object that it
            defines, if `entry` is None.

        Raises:
            CandidateError: If the module raises.
            NotAProgram: If it does not compile.
            GuestGone: If the guest ended or broke the protocol.
        """
        self.line_count = len(code.splitlines())
        reply = self.exchange({"code": code, "names": names, "entry": entry, "lines": lines})
        if "syntax" in reply:
            kind, line = reply["syntax"]
            raise NotAProgram(identifier(kind), _line(line))
        self.raise_error(reply)
        decoder = Decoder(self.resolve)
        defined = reply.get("ok")
        if not isinstance(defined, dict):
            raise GuestGone
        # No other names, whatever the guest sends: it must not replace a test's own names.
        requested = (name for name in (*names, "") if name in defined)
        return {name: decoder.decode(defined[name]) for name in requested}

    def request(
        self,
        op: str,
        handle: int,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Have the guest do something with an object of its own.

        Args:
            op: Operation: `call`, `method`, `get`, `set`, `apply` or `library`.
            handle: Number of the object.
            name: The method, attribute or function, if the operation has one.
            args: Arguments.
            kwargs: Keyword arguments.

        Returns:
            The result; arguments that the guest changed in place are changed here too.

        Raises:
            CandidateError: If the operation raises.
            Malformed: If the reply is not one.
            GuestGone: If the guest ended or broke the protocol.
        """
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
        """Send a request, and serve the guest's calls until its reply.

        Args:
            message: The request.

        Returns:
            The reply.

        Raises:
            GuestGone: If the guest ended or broke the protocol.
        """
        if self.over:
            raise GuestGone
        try:
            send(self.fd, message)
            while True:
                reply = receive(self.fd)
                if not isinstance(reply, dict):
                    raise Malformed("a message that is not an object")
                if "line" in reply:
                    line = _line(reply["line"])
                    if line is not None and line <= self.line_count:
                        self.lines.add(line)
                elif "op" in reply:
                    send(self.fd, self.serve(reply))
                else:
                    return reply
        except (Closed, Malformed) as error:
            self.over = True
            raise GuestGone from error

    def serve(self, message: dict[str, Any]) -> dict[str, Any]:
        """Call what a test passed in, on behalf of the guest.

        Args:
            message: The guest's request: `op`, `id` and `args`.

        Returns:
            The result, or the name of the built-in exception that was raised.

        Raises:
            Malformed: If the guest names an object that was not passed in.
        """
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
        """Give an object that is not plain data a handle.

        Args:
            value: The object.

        Returns:
            Its tagged form: its number here, or the guest's if it is one of the guest's.

        Raises:
            GuestGone: If it is an object of another guest.
            Malformed: If the guest lacks an object of the standard library.
        """
        if isinstance(value, Remote):
            if value._session is not self:
                raise GuestGone
            return {"o": value._handle}
        array = arrays.encode(value)
        if array is not None:
            return array
        qualified = _library_name(value)
        if qualified is not None:
            # The guest has the same object, and must never be able to call ours: it may be `eval`.
            theirs = self.request("library", 0, "", qualified)
            if isinstance(theirs, Remote):
                return {"o": theirs._handle}
            raise Malformed("no such object of the library")
        self.lent.append(value)
        return {"h": len(self.lent) - 1}

    def resolve(self, tag: str, number: int) -> object:
        """Look up the object of a handle.

        Args:
            tag: `o` for one of ours; for the guest's `a` is a coroutine, `E` a class of
                exceptions, `h` any other object.
            number: Its number.

        Returns:
            Our object, or the stand-in of the guest's.
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

        Args:
            reply: The guest's reply; without an error nothing is raised.
            ends_iteration: Whether StopIteration may be raised, which is so when a test asks for
                the next item. Elsewhere it would end the test's own loop, and
                `all(map(check, cases))` would be true after no case at all.

        Raises:
            CandidateError: If the reply tells of an error.
            Malformed: If the error is not of the protocol's form.
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
        """Make the class of an error that the candidate raised.

        Args:
            base: The nearest built-in exception.
            kind: Name of the candidate's class.
            classes: Handles of the candidate's classes that it belongs to and tests know.

        Returns:
            A subclass of all these.
        """
        made = error_class(kind, base)
        known = [self.stand_ins[n] for n in classes if type(n) is int and n in self.stand_ins]
        own = [c for c in known if isinstance(c, type) and issubclass(c, CandidateError)]
        try:
            return type(made.__name__, (*own, made), {"base": made.base})
        except TypeError:
            # Python cannot combine these classes: the guest sent what cannot have been raised.
            return made


def _exceptions(session: GuestSession, number: int) -> type[CandidateError]:
    match session.request("apply", number, "lineage"):
        case [str() as name, str() as base]:
            return error_class(name, base)
        case _:
            raise Malformed("a class of unknown form")


async def _awaited(session: GuestSession, number: int) -> Any:
    """Await a coroutine of the candidate's, which the guest runs to its end."""
    return session.request("apply", number, "run")


def _library_name(value: Any) -> tuple[str, str] | None:
    """Module and name of a function or class of the standard library; None for anything else."""
    if not isinstance(value, (type, BuiltinFunctionType, FunctionType)):
        return None
    module, name = value.__module__, value.__qualname__
    if not module or module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        named = attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None
    return (module, name) if named is value else None


def _pairs(changed: Any) -> list[tuple[Any, Any]]:
    if not isinstance(changed, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in changed
    ):
        raise Malformed("changes of unknown form")
    return [(number, contents) for number, contents in changed]


def _line(line: Any) -> int | None:
    return line if type(line) is int and 0 < line < 10**9 else None
