"""Python source as syntax trees: programs that may not parse, and what tests call."""

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator, Sequence


def parse(code: str) -> ast.Module | None:
    """The syntax tree of a source, or None when it is not a program.

    Args:
        code: Any text; what the parser warns of is not shown.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # For nesting beyond its own limits the parser raises MemoryError.
            return None


def called_function(tests: Sequence[str], code: str | None = None) -> str:
    """The function that tests are about.

    With `code` that is the first called function that `code` defines. Without, it is the first
    that is no builtin, or else the first: a problem may ask for a function named `sum`.

    Args:
        tests: Sources of assert statements.
        code: Source of a solution, if it is known.

    Returns:
        The function's name.

    Raises:
        ValueError: If the tests call no such function.
        SyntaxError: If a test is not Python.
    """
    names = _called_names(tests)
    if code is not None:
        tree = parse(code)
        defined = {getattr(node, "name", None) for node in (tree.body if tree else [])}
        for name in names:
            if name in defined:
                return name
        raise ValueError("no test calls a function of the reference")
    called = list(names)
    if not called:
        raise ValueError(
            f"the test {tests[0]!r} calls no function" if tests else "there is no test"
        )
    return next((name for name in called if not hasattr(builtins, name)), called[0])


def _called_names(tests: Iterable[str]) -> Iterator[str]:
    for test in tests:
        for node in ast.walk(ast.parse(test.strip())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id
