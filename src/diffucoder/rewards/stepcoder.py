"""StepCoder's two ideas (arXiv 2402.01391): a curriculum of completion, and no loss on dead code.

For a diffusion model the curriculum's subtask is plain infilling: the given part of the reference
stands on the canvas, the rest is masked.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diffucoder.data.python_source import parse
from diffucoder.errors import BadData


@dataclass(frozen=True)
class Subtask:
    """A reference solution cut in two.

    Attributes:
        given: its beginning, whole lines.
        wanted: the rest, to be written.
    """

    given: str
    wanted: str


def subtask(reference: str, stage: int, stages: int) -> Subtask:
    """Stage `stage` of completing ever longer parts of a reference solution.

    The first stage asks for the last statement, each later one for more, the last for all of
    it. Cuts lie before statements, spread evenly over those there are (CCCS, section 3.1; the
    paper cuts at conditional statements, which short functions hardly have).

    Args:
        reference: source of a solution.
        stage: from 1.
        stages: how many there are.

    Raises:
        BadData: if the reference does not parse or is empty.
        ValueError: unless 1 <= stage <= stages.
    """
    if not 1 <= stage <= stages:
        raise ValueError(f"stage must be from 1 to {stages}, got {stage}")
    tree = parse(reference)
    if tree is None or not tree.body:
        raise BadData("a curriculum needs a reference solution that parses and is not empty")
    if stage == stages:
        return Subtask("", reference)
    cuts = sorted({first for first, _, _ in statements(tree)}, reverse=True)
    at = cuts[round((stage - 1) * (len(cuts) - 1) / (stages - 1))] - 1
    lines = reference.splitlines(keepends=True)
    return Subtask("".join(lines[:at]), "".join(lines[at:]))


def next_stage(stage: int, stages: int, pass_rate: float, threshold: float) -> int:
    """The stage after one whose completions passed at a rate: one further once it is mastered."""
    return min(stage + 1, stages) if pass_rate >= threshold else stage


def executed_mask(
    code: str | None, executed_lines: Sequence[int] | None, lines: Sequence[int | None]
) -> list[bool]:
    """Which tokens take part in the loss: all but those of statements that never ran.

    A statement ran if any of its own lines did (fine-grained optimisation, section 3.2). Tokens
    outside statements (prose, fences, comments, blank lines, `else:`) stay, and so do statements
    that leave no trace when they are passed, such as docstrings. Where nothing is known of what
    ran, or the code does not parse, all stay.

    Args:
        code: the code in the completion.
        executed_lines: lines of it, from 1, that ran under the tests; None if not recorded.
        lines: for each token its line of the code
            (`diffucoder.rewards.spans.lines_of_tokens`).
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
    """(first line, last line, node) of each statement, in order of the source.

    A compound statement has its decorators and its header for its own, down to the line before
    its body; what is in the body are statements of their own.
    """
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        start = _first_line(body[0]) if body else None
        last = node.end_lineno or node.lineno
        yield first, last if start is None else max(first, start - 1), node


def _first_line(node: ast.AST) -> int:
    place = getattr(node, "pattern", node)
    decorators = getattr(node, "decorator_list", [])
    return min([place.lineno, *(decorator.lineno for decorator in decorators)])


def _is_silent(node: ast.stmt) -> bool:
    """Whether the interpreter passes a statement without a trace."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Global | ast.Nonlocal)
