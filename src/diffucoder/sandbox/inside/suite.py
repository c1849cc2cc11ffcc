"""Compiled tests, and what they may see of a candidate."""

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
class Suite:
    """Tests of one problem, ready to run.

    tests: code objects; None for one that does not compile.
    names: what the tests use and do not define, to be asked of the candidate.
    library: module names that the tests use and do not import.
    checks: whether the one test defines `check(candidate)` instead of asserting.
    setup: runs before each test.
    """

    tests: tuple[CodeType | None, ...]
    names: tuple[str, ...]
    library: tuple[str, ...]
    entry: str | None
    checks: bool
    setup: CodeType

    def namespace(self, defined: dict[str, Any]) -> dict[str, Any]:
        """A fresh namespace in which a test can run, with what the candidate defined."""
        names: dict[str, Any] = {"__name__": "__tests__", "__builtins__": builtins}
        for name in self.library:
            names[name] = importlib.import_module(name)
        exec(self.setup, names)
        # A namespace of its own: what the setup defines goes on using what the setup defined.
        return names | defined


# Completions of one group share their tests.
@lru_cache(maxsize=256)
def prepare(tests: str | Sequence[str], entry: str | None, setup: str = "") -> Suite:
    """Compile the tests of one problem: assert statements, or a source with `check(candidate)`.

    setup: source that runs before each test; without it no test compiles.
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
    # The judge's own modules, or a candidate that names its helper `math` would decide tests.
    library = {n for n in attributes_only if n in sys.stdlib_module_names} - {entry} - own
    names = used - own - library - set(dir(builtins)) | ({entry} if entry else set())
    return Suite(
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
