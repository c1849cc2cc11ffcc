"""EvalPlus's sanitisation: the part of a text that parses, reduced to what is needed.

Source: the rules of `evalplus.sanitize` (github.com/evalplus/evalplus, Liu et al., arXiv
2305.01210): the longest span of lines that parses, then its imports and the definitions that the
entry point reaches. It keeps two kinds of definitions that those drop: one with decorators, and a
function without a return statement that is the only one of its name.
"""

import ast
import warnings
from collections.abc import Iterator, Sequence

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


def sanitise(text: str, entry_point: str | None = None) -> str | None:
    """Extract the program from a text with prose, fences, examples and drafts around it.

    Args:
        text: A completion, or a prompt and its continuation.
        entry_point: The function whose definition is kept, with all that it names; None keeps
            every definition.

    Returns:
        Imports and definitions, in the order of the text; the whole span that parses if it has
        neither; None if nothing parses.
    """
    span = longest_program(text)
    if span is None:
        return None
    statements = ast.parse(span).body
    imports = [node for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
    definitions = _first_definitions(statements)
    names = definitions if entry_point is None else _reachable(entry_point, definitions)
    needed = {id(node) for node in [*imports, *(definitions[name] for name in names)]}
    lines = span.split("\n")
    return "\n".join(_source(lines, node) for node in statements if id(node) in needed) or span


def longest_program(text: str) -> str | None:
    """Find the span of lines that parses and has the most lines that are not blank.

    Takes one parse per line and per error, not one per pair of lines: if a span fails at some
    line, so does every longer one.

    Args:
        text: Any text.

    Returns:
        The first of the longest spans; None if no line parses.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # filled[i]: lines before line i that are not blank.
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    best = (0, 0)
    for start, line in enumerate(lines):
        size = filled[best[1]] - filled[best[0]]
        # Nothing that starts inside a block, or with too few lines left, can be longer.
        if not line.strip() or line[0].isspace() or filled[-1] - filled[start] <= size:
            continue
        end = _parsing_end(lines, start, start + 1 + size)
        if filled[end] - filled[start] > size:
            best = (start, end)
    return "\n".join(lines[best[0] : best[1]]) if best[1] else None


def _parsing_end(lines: Sequence[str], start: int, least: int) -> int:
    """The end of the longest span from `start` that parses; `start` if it is before `least`."""
    end = len(lines)
    while end >= least:
        failed_at = _error_line("\n".join(lines[start:end]))
        if failed_at is None:
            return end
        end = start + min(failed_at, end - start) - 1
    return start


def _error_line(code: str) -> int | None:
    """The line, from 1, at which a source cannot be parsed; None if it can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except SyntaxError as error:
            return max(error.lineno or 1, 1)
        except (ValueError, RecursionError, MemoryError):
            # A null byte, or nesting beyond the parser's limits; the error does not tell where.
            return code.count("\n") + 1
    return None


def _first_definitions(statements: Sequence[ast.stmt]) -> dict[str, ast.stmt]:
    """The first definition of each name; a function that returns goes before one that does not.

    So a function of the prompt that has only a docstring is not the one that is kept.
    """
    definitions: dict[str, ast.stmt] = {}
    for node in statements:
        for name in _names(node):
            stub = definitions.get(name)
            if stub is None or (not _gives(stub) and isinstance(node, _FUNCTIONS) and _gives(node)):
                definitions[name] = node
    return definitions


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines at the top of a module."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _gives(node: ast.stmt) -> bool:
    """Whether a definition is more than the stub of a function."""
    returns = (ast.Return, ast.Yield, ast.YieldFrom)
    return not isinstance(node, _FUNCTIONS) or any(isinstance(n, returns) for n in ast.walk(node))


def _reachable(entry_point: str, definitions: dict[str, ast.stmt]) -> list[str]:
    """The entry point and all definitions that it names, directly or not."""
    reached, waiting = {entry_point}, [entry_point]
    while waiting:
        node = definitions.get(waiting.pop())
        named = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if node else set()
        waiting += named - reached
        reached |= named
    return [name for name in definitions if name in reached]


def _source(lines: Sequence[str], node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(lines[start - 1 : node.end_lineno])
