"""StepCoder's fine-grained optimisation: no loss on code that never ran (arXiv 2402.01391, 3.2)."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from diffucoder.data.python_source import parse


def executed_mask(
    code: str | None, executed_lines: Sequence[int] | None, lines: Sequence[int | None]
) -> list[bool]:
    """Select the tokens that take part in the loss: all but those of statements that never ran.

    A statement ran if any of its own lines did. Tokens outside statements (prose, fences,
    comments, blank lines, `else:`) stay, and so do statements that leave no trace when they are
    executed, such as docstrings. All stay if the lines that ran are not known, or the code does
    not parse.

    Args:
        code: The code in the completion, or None.
        executed_lines: Lines of the code, from 1, that ran under the tests; None if not recorded.
        lines: For each token its line of the code, or None outside of it
            (`diffucoder.rewards.spans.lines_of_tokens`).

    Returns:
        One bool per token.
    """
    tree = parse(code) if code is not None else None
    if tree is None or executed_lines is None:
        return [True] * len(lines)
    ran = set(executed_lines)
    dead: set[int] = set()
    alive: set[int] = set()
    for first, last, node in statements(tree):
        own = set(range(first, last + 1))
        (alive if own & ran or _is_silent(node) else dead).update(own)
    dead -= alive
    return [line not in dead for line in lines]


def statements(tree: ast.Module) -> Iterator[tuple[int, int, ast.stmt]]:
    """List the statements of a program, in the order of the source.

    A compound statement owns its decorators and its header, down to the line before its body;
    the statements in the body count by themselves.

    Args:
        tree: The program.

    Yields:
        (first line, last line, node), lines from 1.
    """
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        start = _first_line(body[0]) if body else None
        last = node.end_lineno or node.lineno
        yield first, last if start is None else max(first, start - 1), node


def _first_line(node: ast.AST) -> int:
    # The clause of a match begins with its pattern and has no line of its own.
    begin: Any = getattr(node, "pattern", node)
    decorators = getattr(node, "decorator_list", [])
    return min([begin.lineno, *(decorator.lineno for decorator in decorators)])


def _is_silent(node: ast.stmt) -> bool:
    """Whether the interpreter executes a statement without a trace event."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Global | ast.Nonlocal)
