"""Stand-ins, in the judge, for what lives in a guest: the candidate's objects and exceptions."""

import builtins
import keyword
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

from .wire import Malformed

# What a test may want to know of a function or class. Others of these names are protocols: numpy,
# for one, reads memory at the address that an object's `__array_interface__` names.
_SPECIAL_NAMES = (
    "__annotations__", "__dict__", "__doc__", "__module__", "__name__", "__qualname__",
)  # fmt: skip
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_BINARY = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    "lshift", "rshift",
)  # fmt: skip
_UNARY = ("neg", "pos", "abs", "invert")


class Requests(Protocol):
    """Where a stand-in sends what it is asked for."""

    def request(
        self,
        op: str,
        handle: int,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any: ...


class Remote:
    """An object of the candidate's that is not plain data.

    It can be called, iterated, indexed, asked for attributes and for its truth: the guest does it
    and plain results come back. It cannot be compared or combined with what is the test's: the
    candidate would decide the test. With another object of the candidate's it can, for then both
    sides are its answers anyway; and a truth of its own says no more than returning True.
    """

    __slots__ = ("_handle", "_session")

    def __init__(self, session: Requests, handle: int) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._session.request("call", self._handle, "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if _is_special(name) and name not in _SPECIAL_NAMES:
            raise AttributeError(name)
        return self._session.request("get", self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._session.request("set", self._handle, name, (value,))

    def __iter__(self) -> Iterator[Any]:
        return self._apply("iter")

    def __next__(self) -> Any:
        return self._method("__next__")

    def __getitem__(self, key: Any) -> Any:
        return self._method("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._method("__setitem__", key, value)

    def __delitem__(self, key: Any) -> None:
        self._method("__delitem__", key)

    def __len__(self) -> int:
        return self._method("__len__")

    def __str__(self) -> str:
        return self._method("__str__")

    def __repr__(self) -> str:
        return self._method("__repr__")

    def __enter__(self) -> Any:
        return self._method("__enter__")

    def __exit__(self, *_: object) -> None:
        # It is not told of an error, and cannot swallow one: a failed assert stays one.
        self._method("__exit__", None, None, None)

    def __hash__(self) -> int:
        # Where a hash equals that of something else, the comparison follows and is refused.
        return self._apply("hash")

    def __bool__(self) -> bool:
        return self._apply("truth")

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Remote) and self._apply("has_instance", instance)

    def _method(self, name: str, *args: Any) -> Any:
        return self._session.request("method", self._handle, name, args)

    def _apply(self, function: str, *args: Any) -> Any:
        return self._session.request("apply", self._handle, function, args)

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("an object of the candidate's cannot decide a test: compare plain data")

    __contains__ = _refuse


def _operator(name: str) -> Callable[..., Any]:
    def operate(self: Remote, *others: object) -> Any:
        if not all(isinstance(other, Remote) for other in others):
            self._refuse()
        return self._apply(name, *others)

    return operate


for _name in (*_COMPARISONS, *_BINARY, *_UNARY):
    setattr(Remote, f"__{_name}__", _operator(_name))


class CandidateError(Exception):
    """An exception that the candidate's code raised; also of the built-in class it was.

    raised: stands for the exception itself where it has attributes.
    """

    kind = "Exception"
    base: type[BaseException] = Exception
    line: int | None = None
    raised: Remote | None = None

    def __init__(self, message: str = "", *_: object) -> None:
        # Not through the built-in's __init__: some want more arguments than a message.
        self.args = (message,)

    def __str__(self) -> str:
        return str(self.args[0])

    def __getattr__(self, name: str) -> Any:
        if self.raised is None or _is_special(name):
            raise AttributeError(name)
        return getattr(self.raised, name)


def error_class(name: str, base_name: str) -> type[CandidateError]:
    """A class of the candidate's errors that is also its nearest built-in one.

    Raises Malformed when that is none.
    """
    base = getattr(builtins, base_name, None)
    if not (isinstance(base, type) and issubclass(base, BaseException)):
        raise Malformed("an error of unknown form")
    # A test may expect SystemExit; its like must not be what the judge itself listens to.
    caught = issubclass(base, (Exception, SystemExit))
    bases = (CandidateError, base) if caught else (CandidateError,)
    return type(identifier(name), bases, {"base": base})


def identifier(text: object) -> str:
    """The candidate's name for an exception, if it is one."""
    named = isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)
    return text[:80] if named else "Exception"


def _is_special(name: str) -> bool:
    return name[:2] == name[-2:] == "__"
