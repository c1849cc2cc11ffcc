"""The tests of one problem, compiled, and the names that they ask of a candidate."""

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any


@dataclass(frozen=True)
class CompiledTests:
    """The tests of one problem, ready to run.

    Attributes:
        tests: Code of each test; None for one that does not compile.
        names: Names that the tests use and do not define, which the candidate should define.
        library: Modules of the standard library that the tests use and do not import.
        entry: The function under test, if it is known.
        checks: Whether the one test defines `check(candidate)` instead of asserting.
        setup: Code that runs before each test.
    """

    tests: tuple[CodeType | None, ...]
    names: tuple[str, ...]
    library: tuple[str, ...]
    entry: str | None
    checks: bool
    setup: CodeType

    def namespace(self, defined: dict[str, Any]) -> dict[str, Any]:
        """Make a fresh namespace in which a test can run.

        Args:
            defined: What the candidate defined, by name.

        Returns:
            The global names of a test.
        """
        names: dict[str, Any] = {"__name__": "__tests__", "__builtins__": builtins}
        for name in self.library:
            names[name] = importlib.import_module(name)
        exec(self.setup, names)
        # A copy: the functions of the setup go on using the names of the setup.
        return names | defined


# The completions of one prompt share their tests.
@lru_cache(maxsize=256)
def compile_tests(tests: str | Sequence[str], entry: str | None, setup: str = "") -> CompiledTests:
    """Compile the tests of one problem.

    Args:
        tests: Assert statements, or one source that defines `check(candidate)`.
        entry: The function under test; None to find it in assert statements.
        setup: Source that runs before each test. If it does not compile, no test does.

    Returns:
        The compiled tests, in order.
    """
    sources = (tests,) if isinstance(tests, str) else tuple(tests)
    prepared = _parse(setup) is not None
    trees = [_parse(source) if prepared else None for source in sources]
    nodes = [node for tree in trees if tree for node in ast.walk(tree)]
    own = _own(nodes) | (_module_names(setup) if prepared else set())
    if entry is None and not isinstance(tests, str):
        entry = _called(nodes, own)
    used = {n.id for n in nodes if isinstance(n, ast.Name)}
    attributes_only = used - {
        n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    # The judge imports these: else a candidate that names its helper `math` would decide tests.
    library = {n for n in attributes_only if n in sys.stdlib_module_names} - {entry} - own
    names = used - own - library - set(dir(builtins)) | ({entry} if entry else set())
    return CompiledTests(
        tests=tuple(compile(t, "<test>", "exec") if t else None for t in trees),
        names=tuple(sorted(names)),
        library=tuple(sorted(library)),
        entry=entry,
        checks=isinstance(tests, str),
        setup=compile(setup if prepared else "", "<setup>", "exec"),
    )


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _own(nodes: list[ast.AST]) -> set[str]:
    """Names that the tests define themselves."""
    own = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    own |= {n.name for n in nodes if isinstance(n, definitions)}
    own |= {
        (alias.asname or alias.name).split(".")[0]
        for n in nodes
        if isinstance(n, (ast.Import, ast.ImportFrom))
        for alias in n.names
    }
    return own


def _module_names(source: str) -> set[str]:
    """Names that a source gives its module."""
    symbols = symtable.symtable(source, "<setup>", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}


def _called(nodes: list[ast.AST], own: set[str]) -> str | None:
    """The function under test: the first called name that is not built in, else the first."""
    called = [n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    called = [name for name in called if name not in own]
    foreign = [name for name in called if not hasattr(builtins, name)]
    return next(iter(foreign or called), None)
