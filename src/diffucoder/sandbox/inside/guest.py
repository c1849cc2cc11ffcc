"""What runs in the guest: loads the candidate's code and answers the judge's requests.

Nothing here protects the verdict. The candidate shares this process and may change any of it;
all it can gain is to choose the answers, which it chooses anyway.
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
# A module that tests import, so that what it does as a script is left out.
MODULE = "candidate"
_MESSAGE_LENGTH = 1000
_REFUSALS = (errno.EPERM, errno.EACCES, errno.EROFS)


class Borrowed:
    """A function or an iterator that a test passed in; it lives in the judge."""

    def __init__(self, server: "Server", handle: int) -> None:
        self._server, self._handle = server, handle

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._server.ask("call", self._handle, args, kwargs)

    def __iter__(self) -> "Borrowed":
        return self

    def __next__(self) -> Any:
        return self._server.ask("next", self._handle, (), {})


class Server:
    """Serves one judge over one descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.module = ModuleType(MODULE)
        # The objects the judge holds handles of; they must live as long as the program.
        self.lent: list[Any] = []
        # The handle of each, by its id: one object is one object on the other side too.
        self.handles: dict[int, int] = {}
        self.operations: dict[str, Callable[[dict[str, Any], list[Any], dict[str, Any]], Any]] = {
            "call": lambda m, args, kwargs: self.lent[m["id"]](*args, **kwargs),
            "method": lambda m, args, kwargs: _special(self.lent[m["id"]], m["name"])(*args),
            "get": lambda m, args, kwargs: getattr(self.lent[m["id"]], m["name"]),
            "set": lambda m, args, kwargs: setattr(self.lent[m["id"]], m["name"], args[0]),
            "apply": lambda m, args, kwargs: _FUNCTIONS[m["name"]](self.lent[m["id"]], *args),
            "library": lambda m, args, kwargs: _found(*args),
        }

    def serve(self) -> None:
        """Answer until the judge is gone."""
        while True:
            send(self.fd, self.answer(receive(self.fd)))

    def answer(self, message: Any) -> Json:
        """Carry out one request and say what came of it."""
        try:
            return self.load(message) if "code" in message else self.operate(message)
        except Closed:
            raise
        except BaseException as error:
            return {"error": self.describe(error)}

    def load(self, message: dict[str, Any]) -> Json:
        """Run the candidate's module and send back the names that the tests use."""
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
        wanted = {name: names[name] for name in message["names"] if name in names}
        if message["entry"] is None:
            defined = [v for v in names.values() if getattr(v, "__module__", None) == MODULE]
            wanted |= {"": defined[-1]} if defined else {}
        encoder = Encoder(self.lend, simplify=_numpy_as_plain)
        # A module would let the candidate answer for the standard library; the judge has its own.
        return {
            "ok": {
                name: encoder.encode(value)
                for name, value in wanted.items()
                if not isinstance(value, ModuleType)
            }
        }

    def operate(self, message: dict[str, Any]) -> Json:
        """Carry out an operation on a lent object; arguments changed in place are sent back."""
        decoder = Decoder(self.resolve)
        args, kwargs = decoder.decode(message["args"])
        received = decoder.containers
        before = [_shallow(container) for container in received]
        encoder = Encoder(self.lend, received, _numpy_as_plain)
        try:
            reply = {"ok": encoder.encode(self.operations[message["op"]](message, args, kwargs))}
        except Closed:
            raise
        except BaseException as error:
            reply = {"error": self.describe(error)}
        changed = [
            [i, encoder.contents(container)]
            for i, container in enumerate(received)
            if not _same(before[i], _shallow(container))
        ]
        return reply | ({"changed": changed} if changed else {})

    def ask(self, op: str, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the judge call what a test passed in; serves requests that this call causes."""
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
        """Keep an object that is not plain data and name it by number."""
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
        """An exception as [built-in base, type name, message, line in the candidate's code,
        handles of its own classes that the judge knows, the exception if it has attributes].
        """
        base = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
        # Not all of the sandbox's refusals have the number that Python has this class for.
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
        """The object of a handle: `o` is one of ours, `h` one of the judge's."""
        return self.lent[number] if tag == "o" else Borrowed(self, number)


def _tag(value: object) -> str:
    if type(value) is CoroutineType:
        return "a"
    own = isinstance(value, type) and issubclass(value, BaseException)
    return "E" if own and value.__module__ == MODULE else "h"


def report_lines(report: Callable[[int], None]) -> None:
    """Call `report` with each line of the candidate's code, when it first runs."""
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


# What is done with an object and, for some, with others of the candidate's.
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


def _found(module: str, name: str) -> Any:
    """An object of the standard library that a test passes in, as it is here."""
    return operator.attrgetter(name)(importlib.import_module(module))


def _special(value: object, name: str) -> Callable[..., Any]:
    method = getattr(type(value), name, None)
    if method is None:
        # What Python itself says of len(3); list() relies on it.
        raise TypeError(f"{type(value).__name__} has no {name}")
    return partial(method, value)


def _shallow(container: Any) -> list[Any]:
    kind = next(kind for kind in MUTABLE if isinstance(container, kind))
    if kind is dict:
        return [part for item in dict.items(container) for part in item]
    return list(kind.__iter__(container))


def _same(before: list[Any], after: list[Any]) -> bool:
    return len(before) == len(after) and all(x is y for x, y in zip(before, after, strict=True))


def _numpy_as_plain(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return value
    # An array that is no plain data: what it holds may be.
    scalar = isinstance(value, numpy.generic)
    objects = isinstance(value, numpy.ndarray) and arrays.encode(value) is None
    return value.tolist() if scalar or objects else value


def main(fd: int) -> None:
    """Serve until the judge hangs up, then leave without running what the candidate left."""
    try:
        Server(fd).serve()
    finally:
        os._exit(0)
