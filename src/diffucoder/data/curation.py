"""Curated text for mid-training: short documented functions and solved tasks."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from diffucoder.config.ingestion import CurationParams, FunctionParams


def good_functions(source: str, rule: FunctionParams) -> Iterator[str]:
    """Yield the source of each module-level function that fits the rule.

    Args:
        source: A module that parses.
        rule: What a function must have.

    Yields:
        Sources of functions, decorators included, in the module's order.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_good(node, rule):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield "".join(lines[first - 1 : node.end_lineno])


def _is_good(node: ast.FunctionDef | ast.AsyncFunctionDef, rule: FunctionParams) -> bool:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return (
        rule.min_lines <= lines <= rule.max_lines
        and (not rule.docstring or ast.get_docstring(node) is not None)
        and (not rule.annotations or _is_annotated(node))
    )


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.returns is not None and all(argument.annotation for argument in arguments)


def curated_texts(
    documents: Iterable[Mapping[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
    params: CurationParams,
) -> Iterator[tuple[str, str]]:
    """Choose the texts of mid-training.

    Args:
        documents: Rows with `text`, `source` and `curated`.
        pairs: Instruction pairs, with `prompt` and `response`.
        params: What a function must have, and whether pairs are used.

    Yields:
        (origin, text): documents of curated sources, functions of the others, then solved tasks.
    """
    for row in documents:
        if row["curated"]:
            yield row["source"], row["text"]
        elif params.functions:
            for function in good_functions(row["text"], params.functions):
                yield "functions", function
    if params.pairs:
        for pair in pairs:
            yield "solved_tasks", solved_task(pair["prompt"], pair["response"])


def solved_task(prompt: str, response: str) -> str:
    """Write an instruction pair as plain text, without the special tokens of a chat."""
    return f"{prompt}\n\n{response}\n"


def turns(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the turns of chats without their special tokens, for the vocabulary.

    Args:
        pairs: Instruction pairs, with `prompt` and `response`.

    Returns:
        The users' turns, then the assistant's, each with the name of its role.
    """
    users = [f"user\n{pair['prompt']}" for pair in pairs]
    return users + [f"assistant\n{pair['response']}" for pair in pairs]
