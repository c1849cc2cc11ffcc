"""Stand-ins in the judge for what lives in a guest: the candidate's objects and exceptions."""

import builtins
import keyword
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

from .wire import Malformed

# Special names of a function or class that a test may ask for. Others are protocols: numpy, for
# example, reads memory at the address that an object's `__array_interface__` names.
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
    """Where a stand-in sends its requests."""

    def request(
        self,
        op: str,
        handle: int,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Have the guest do something; see `session.GuestSession.request`."""


class Remote:
    """An object of the candidate's that is not plain data.

    It can be called, iterated, indexed, and asked for attributes and for its truth: the guest does
    so and returns plain results. It cannot be compared or combined with an object of the test's,
    for then the candidate would decide the test. It can be with another object of the candidate's,
    since both sides are its answers anyway; and its truth says no more than returning True would.

    Args:
        session: Where its requests go.
        handle: Its number in the guest.
    """

    __slots__ = ("_handle", "_session")

    def __init__(self, session: Requests, handle: int) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Have the guest call it."""
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
        # It does not learn of an error and cannot swallow one: a failed assert stays one.
        self._method("__exit__", None, None, None)

    def __hash__(self) -> int:
        # Equal hashes lead to a comparison, which is refused.
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

    Attributes:
        kind: Name of its class.
        base: The nearest built-in class.
        line: Line of the candidate's code where it was raised, if known.
        raised: Stand-in of the exception itself, if that has attributes.
    """

    kind = "Exception"
    base: type[BaseException] = Exception
    line: int | None = None
    raised: Remote | None = None

    def __init__(self, message: str = "", *_: object) -> None:
        # Not the built-in's __init__: some need more arguments than a message.
        self.args = (message,)

    def __str__(self) -> str:
        return str(self.args[0])

    def __getattr__(self, name: str) -> Any:
        if self.raised is None or _is_special(name):
            raise AttributeError(name)
        return getattr(self.raised, name)


def error_class(name: str, base_name: str) -> type[CandidateError]:
    """Make a class for errors of the candidate.

    Args:
        name: Name of the candidate's class.
        base_name: Name of its nearest built-in class.

    Returns:
        A subclass of `CandidateError` and of the built-in class.

    Raises:
        Malformed: If there is no such built-in class.
    """
    base = getattr(builtins, base_name, None)
    if not (isinstance(base, type) and issubclass(base, BaseException)):
        raise Malformed("an error of unknown form")
    # A test may expect SystemExit; others, such as KeyboardInterrupt, must not reach the judge.
    caught = issubclass(base, (Exception, SystemExit))
    bases = (CandidateError, base) if caught else (CandidateError,)
    return type(identifier(name), bases, {"base": base})


def identifier(text: object) -> str:
    """Check the candidate's name for an exception.

    Args:
        text: What the guest sent.

    Returns:
        Its first 80 characters, or "Exception" if it is not a name.
    """
    if isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text):
        return text[:80]
    return "Exception"


def _is_special(name: str) -> bool:
    return name[:2] == name[-2:] == "__"
