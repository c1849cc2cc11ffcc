"""What runs in the guest: loads the candidate's code and answers the judge's requests.

Nothing here protects the verdict. The candidate shares this process and may change any of it; by
that it can only choose the answers, which it chooses anyway.
"""

import builtins
import errno
import importlib
import operator
import os
import sys
from collections.abc import Callable
from functools import partial
from types import CoroutineType, FrameType, ModuleType
from typing import Any

from . import arrays
from .values import MUTABLE, Decoder, Encoder
from .wire import Closed, Json, receive, send

FILENAME = "<candidate>"
# Not `__main__`, so that what the code does as a script is left out.
MODULE = "candidate"
_MESSAGE_LENGTH = 1000
_REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS)


class Borrowed:
    """A function or an iterator that a test passed in; it lives in the judge.

    Args:
        server: Where calls are sent.
        handle: Its number in the judge.
    """

    def __init__(self, server: "GuestServer", handle: int) -> None:
        self._server, self._handle = server, handle

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Have the judge call it."""
        return self._server.ask("call", self._handle, args, kwargs)

    def __iter__(self) -> "Borrowed":
        return self

    def __next__(self) -> Any:
        return self._server.ask("next", self._handle, (), {})


class GuestServer:
    """Serves one judge over one descriptor.

    Attributes:
        fd: Descriptor of the channel to the judge.
        module: The candidate's module.
        lent: Objects that the judge holds handles of; they must live as long as the program.
        handles: The handle of each, by its id: one object has one stand-in in the judge.
        operations: What the judge may ask for, by name.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.module = ModuleType(MODULE)
        self.lent: list[Any] = []
        self.handles: dict[int, int] = {}
        self.operations: dict[str, Callable[[dict[str, Any], list[Any], dict[str, Any]], Any]] = {
            "call": lambda m, args, kwargs: self.lent[m["id"]](*args, **kwargs),
            "method": lambda m, args, kwargs: _special(self.lent[m["id"]], m["name"])(*args),
            "get": lambda m, args, kwargs: getattr(self.lent[m["id"]], m["name"]),
            "set": lambda m, args, kwargs: setattr(self.lent[m["id"]], m["name"], args[0]),
            "apply": lambda m, args, kwargs: _FUNCTIONS[m["name"]](self.lent[m["id"]], *args),
            "library": lambda m, args, kwargs: _library_object(*args),
        }

    def serve(self) -> None:
        """Answer requests.

        Raises:
            Closed: When the judge is gone.
        """
        while True:
            send(self.fd, self.answer(receive(self.fd)))

    def answer(self, message: Any) -> Json:
        """Carry out one request.

        Args:
            message: The request.

        Returns:
            The reply; an exception of the candidate's is one.

        Raises:
            Closed: If the judge is gone.
        """
        try:
            return self.load(message) if "code" in message else self.operate(message)
        except Closed:
            raise
        except BaseException as error:
            return {"error": self.describe(error)}

    def load(self, message: dict[str, Any]) -> Json:
        """Run the candidate's module.

        Args:
            message: `code`, `names` that the tests use, `entry`, and whether to report `lines`.

        Returns:
            A reply with the names that the module defines, or with its syntax error.
        """
        try:
            code = compile(message["code"], FILENAME, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            # ValueError: source with null bytes. SyntaxWarning is no error here.
            return {"syntax": [type(error).__name__, getattr(error, "lineno", None)]}
        sys.modules[MODULE] = self.module
        names = self.module.__dict__
        if message["lines"]:
            report_lines(lambda line: send(self.fd, {"line": line}))
        exec(code, names)
        requested = {name: names[name] for name in message["names"] if name in names}
        if message["entry"] is None:
            defined = [v for v in names.values() if getattr(v, "__module__", None) == MODULE]
            requested |= {"": defined[-1]} if defined else {}
        encoder = Encoder(self.lend, simplify=_numpy_as_plain)
        # Not modules: the candidate would answer for the standard library; the judge has its own.
        return {
            "ok": {
                name: encoder.encode(value)
                for name, value in requested.items()
                if not isinstance(value, ModuleType)
            }
        }

    def operate(self, message: dict[str, Any]) -> Json:
        """Carry out an operation on a lent object.

        Args:
            message: `op`, `id` of the object, `name` and `args`.

        Returns:
            A reply with the result or the exception, and with what changed in the arguments.
        """
        decoder = Decoder(self.resolve)
        args, kwargs = decoder.decode(message["args"])
        received = decoder.containers
        before = [_shallow(container) for container in received]
        encoder = Encoder(self.lend, received, _numpy_as_plain)
        try:
            result = self.operations[message["op"]](message, args, kwargs)
            reply: dict[str, Json] = {"ok": encoder.encode(result)}
        except Closed:
            raise
        except BaseException as error:
            reply = {"error": self.describe(error)}
        changed: list[Json] = [
            [i, encoder.contents(container)]
            for i, container in enumerate(received)
            if not _same(before[i], _shallow(container))
        ]
        if changed:
            reply["changed"] = changed
        return reply

    def ask(self, op: str, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the judge call what a test passed in; serves requests that this call causes.

        Args:
            op: `call`, or `next` for an iterator.
            handle: Number of the object in the judge.
            args: Arguments.
            kwargs: Keyword arguments.

        Returns:
            The result.

        Raises:
            Exception: The built-in exception that the call raised.
            Closed: If the judge is gone.
        """
        encoder = Encoder(self.lend, simplify=_numpy_as_plain)
        send(self.fd, {"op": op, "id": handle, "args": encoder.encode((args, kwargs))})
        while True:
            message: Any = receive(self.fd)
            if "op" not in message:
                break
            send(self.fd, self.answer(message))
        if "error" in message:
            raise getattr(builtins, message["error"], RuntimeError)
        return Decoder(self.resolve, encoder.containers).decode(message["ok"])

    def lend(self, value: object) -> dict[str, Json]:
        """Keep an object that is not plain data, and give it a handle.

        Args:
            value: The object.

        Returns:
            Its tagged form.
        """
        if isinstance(value, Borrowed):
            return {"o": value._handle}
        array = arrays.encode(value)
        if array is not None:
            return array
        number = self.handles.setdefault(id(value), len(self.lent))
        if number == len(self.lent):
            self.lent.append(value)
        return {_tag(value): number}

    def describe(self, error: BaseException) -> Json:
        """Describe an exception to the judge.

        Args:
            error: The exception.

        Returns:
            Its built-in base, type name, message, line in the candidate's code, handles of its
            own classes that the judge knows, and the exception itself if it has attributes.
        """
        base = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
        # The sandbox refuses with numbers besides those that Python makes this class of.
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            base = "PermissionError"
        try:
            message = str(error)[:_MESSAGE_LENGTH]
        except Exception:
            message = ""
        line, trace = None, error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename == FILENAME:
                line = trace.tb_lineno
            trace = trace.tb_next
        classes = [self.handles[id(c)] for c in type(error).__mro__ if id(c) in self.handles]
        raised = Encoder(self.lend).encode(error) if error.__dict__ else None
        return [base, type(error).__name__, message, line, list[Json](classes), raised]

    def resolve(self, tag: str, number: int) -> object:
        """Look up the object of a handle.

        Args:
            tag: `o` for one of ours, `h` for one of the judge's.
            number: Its number.
        """
        return self.lent[number] if tag == "o" else Borrowed(self, number)


def _tag(value: object) -> str:
    if type(value) is CoroutineType:
        return "a"
    own = isinstance(value, type) and issubclass(value, BaseException)
    return "E" if own and value.__module__ == MODULE else "h"


def report_lines(report: Callable[[int], None]) -> None:
    """Trace the candidate's code.

    Args:
        report: Called with each line when it first runs.
    """
    seen: set[int] = set()

    def in_candidate(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            report(frame.f_lineno)
        return in_candidate

    def entered(frame: FrameType, event: str, argument: object) -> Any:
        return in_candidate if frame.f_code.co_filename == FILENAME else None

    importlib.import_module("threading").settrace(entered)
    sys.settrace(entered)


def _run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _lineage(kind: type[BaseException]) -> list[str]:
    base = next(c.__name__ for c in kind.__mro__ if c.__module__ == "builtins")
    return [kind.__name__, base]


# Functions that the judge may have applied to an object and other objects of the candidate's.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "hash": hash,
    "truth": bool,
    "iter": iter,
    "has_instance": lambda kind, value: isinstance(value, kind),
    "run": _run,
    "lineage": _lineage,
    "and": operator.and_,
    "or": operator.or_,
    **{
        name: getattr(operator, name)
        for name in (
            "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod",
            "pow", "matmul", "xor", "lshift", "rshift", "neg", "pos", "abs", "invert",
        )
    },
}  # fmt: skip


def _library_object(module: str, name: str) -> Any:
    """Find the object of the standard library that a test passes in."""
    return operator.attrgetter(name)(importlib.import_module(module))


def _special(value: object, name: str) -> Callable[..., Any]:
    method = getattr(type(value), name, None)
    if method is None:
        # As Python does for len(3); list() relies on it.
        raise TypeError(f"{type(value).__name__} has no {name}")
    return partial(method, value)


def _shallow(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [part for item in dict.items(container) for part in item]
    kind: type[Any] = next(kind for kind in MUTABLE if isinstance(container, kind))
    return list(kind.__iter__(container))


def _same(before: list[Any], after: list[Any]) -> bool:
    return len(before) == len(after) and all(x is y for x, y in zip(before, after, strict=True))


def _numpy_as_plain(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return value
    # An array that is not plain data may hold plain data.
    scalar = isinstance(value, numpy.generic)
    objects = isinstance(value, numpy.ndarray) and arrays.encode(value) is None
    return value.tolist() if scalar or objects else value


def main(fd: int) -> None:
    """Serve until the judge is gone, then exit without running what the candidate left to run.

    Args:
        fd: Descriptor of the channel to the judge.
    """
    try:
        GuestServer(fd).serve()
    finally:
        os._exit(0)
