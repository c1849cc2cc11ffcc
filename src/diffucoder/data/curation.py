"""The better part of the corpus, for mid-training: short documented functions and solved tasks."""

import ast
from collections.abc import Iterator

from diffucoder.config.ingestion import FunctionParams


def good_functions(source: str, rule: FunctionParams) -> Iterator[str]:
    """Yield the source of each module-level function that fits the rule.

    Args:
        source: a module that parses.
        rule: what makes a function good enough.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_good(node, rule):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield "".join(lines[first - 1 : node.end_lineno])


def _is_good(node: ast.FunctionDef | ast.AsyncFunctionDef, rule: FunctionParams) -> bool:
    return (
        rule.min_lines <= node.end_lineno - node.lineno + 1 <= rule.max_lines
        and (not rule.docstring or ast.get_docstring(node) is not None)
        and (not rule.annotations or _is_annotated(node))
    )


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.returns is not None and all(argument.annotation for argument in arguments)


def solved_task(prompt: str, response: str) -> str:
    """An instruction pair as plain text, without the marks of a chat."""
    return f"{prompt}\n\n{response}\n"
