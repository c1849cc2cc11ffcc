"""A line-level process reward: how far a program's prefixes run.

A prefix is the program cut off after one of its statements. Run against the problem's tests it
returns early, and so may give wrong results; but where it raises, hangs or is denied, its last
statement is the cause. This needs no value model and no labelled steps (cf. PRLCoder, arXiv
2502.01715, which learns such a signal from mutated lines).
"""

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from diffucoder.data.problems import Problem
from diffucoder.data.python_source import parse
from diffucoder.sandbox import Program, Verdict


@dataclass(frozen=True)
class Prefix:
    """A program cut off after a statement.

    Attributes:
        last_line: Line of the whole program, from 1, on which that statement ends.
        source: Source of the prefix.
        cuts_loop: Whether the body of a `while` is cut, which may then never end.
    """

    last_line: int
    source: str
    cuts_loop: bool


def prefixes(code: str, entry_point: str) -> list[Prefix]:
    """Cut a program off after each of its statements.

    Each ends after one statement that has no body, at any depth, from the first in the
    definition of the entry point on: earlier there is nothing that tests could call. Branches
    and clauses that come later than the cut are left out.

    Args:
        code: The program.
        entry_point: The function under test.

    Returns:
        The prefixes, from the shortest; none if the program does not parse.
    """
    tree = parse(code)
    if tree is None:
        return []
    cuts = []
    for line in sorted({node.end_lineno or 0 for node in ast.walk(tree) if _is_leaf(node)}):
        cutter = _Cutter(line)
        cut = cutter.visit(copy.deepcopy(tree))
        if any(getattr(node, "name", None) == entry_point for node in cut.body):
            source = ast.unparse(ast.fix_missing_locations(cut))
            cuts.append(Prefix(line, source, cutter.cuts_loop))
    return cuts


def prefix_programs(code: str, problem: Problem) -> list[Program]:
    """Make programs for the sandbox of a program's prefixes.

    Args:
        code: The program.
        problem: The problem it should solve.

    Returns:
        One program per prefix, in the order of `prefixes`.
    """
    return [problem.program(prefix.source) for prefix in prefixes(code, problem.entry_point)]


def line_rewards(code: str, entry_point: str, verdicts: Sequence[Verdict]) -> dict[int, float]:
    """Reward lines on which a statement ends: 1 while prefixes run, 0 from the first that fails.

    Args:
        code: The program.
        entry_point: The function under test.
        verdicts: Verdicts of `prefix_programs`, in their order.

    Returns:
        Rewards by line number, from 1.

    Raises:
        ValueError: Unless there is a verdict for each prefix.
    """
    cuts = prefixes(code, entry_point)
    if len(cuts) != len(verdicts):
        raise ValueError(f"{len(verdicts)} verdicts for {len(cuts)} prefixes: give one each")
    running = True
    rewards = {}
    for prefix, verdict in zip(cuts, verdicts, strict=True):
        running = running and _runs(prefix, verdict)
        rewards[prefix.last_line] = float(running)
    return rewards


def _runs(prefix: Prefix, verdict: Verdict) -> bool:
    """Whether a prefix does nothing worse than to give wrong results."""
    if verdict.status == "timeout":
        return prefix.cuts_loop
    # An error without a line of the code is the test's own, caused by an early None.
    return verdict.status in ("passed", "failed") or (
        verdict.status == "error" and verdict.line is None
    )


def process_reward(rewards: dict[int, float]) -> float:
    """Average the rewards of lines.

    Args:
        rewards: Rewards by line (`line_rewards`).

    Returns:
        Share of the program's prefixes that run before the first failure, 0 to 1; 0 without any.
    """
    return sum(rewards.values()) / len(rewards) if rewards else 0.0


class _Cutter(ast.NodeTransformer):
    """Leaves out every statement that begins after a line, and clauses left empty."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.cuts_loop = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                before = [self.visit(part) for part in block if part.lineno <= self.line]
                self.cuts_loop |= isinstance(node, ast.While) and len(before) < len(block)
                setattr(node, name, before)
        for name in ("handlers", "cases"):
            if isinstance(clauses := getattr(node, name, None), list):
                setattr(node, name, [clause for clause in map(self.visit, clauses) if clause.body])
        if isinstance(node, ast.Try) and not node.handlers and not node.finalbody:
            # A try without its clauses is not valid; its body is.
            return ast.If(test=ast.Constant(True), body=node.body, orelse=[])
        return node


def _is_leaf(node: ast.AST) -> TypeGuard[ast.stmt]:
    has_parts = getattr(node, "body", None) or getattr(node, "cases", None)
    return isinstance(node, ast.stmt) and not has_parts
