"""Reasons to leave a document out that depend on that document alone."""

import ast
import re
import warnings
from typing import NamedTuple

from diffucoder.config.ingestion import FilterParams
from diffucoder.data.documents import Document

LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict)


class Reason(NamedTuple):
    """A reason to leave a document out.

    Attributes:
        name: The same word for all documents it applies to.
        detail: The value or text that led to it.
    """

    name: str
    detail: str


def reason_to_reject(document: Document, params: FilterParams) -> Reason | None:
    """Apply all filters, cheap ones first.

    Args:
        document: The document.
        params: The filters' limits.

    Returns:
        The first reason that applies: `not_utf8`, `too_small`, `too_large`, `generated`,
        `long_lines`, `minified`, `does_not_parse` or `mostly_data`; None if there is none.
    """
    if document.unreadable:
        name, _, detail = document.unreadable.partition(": ")
        return Reason(name, detail)
    if document.bytes < params.min_bytes:
        return Reason("too_small", f"{document.bytes} bytes")
    if document.bytes > params.max_bytes:
        return Reason("too_large", f"{document.bytes} bytes")
    lines = document.text.splitlines()
    reason = _generated(lines, params) or _long_lines(lines, params)
    return _syntax(document.text, params) if not reason and params.must_parse else reason


def _generated(lines: list[str], params: FilterParams) -> Reason | None:
    header = "\n".join(lines[: params.header_lines])
    for marker in params.generated_markers:
        if match := re.search(marker, header, re.IGNORECASE):
            return Reason("generated", f"header says {match.group()!r}")
    return None


def _long_lines(lines: list[str], params: FilterParams) -> Reason | None:
    mean = sum(map(len, lines)) / max(len(lines), 1)
    if mean > params.max_mean_line_chars:
        return Reason("minified", f"{mean:.0f} characters per line")
    if (longest := max(map(len, lines), default=0)) > params.max_line_chars:
        return Reason("long_lines", f"a line of {longest} characters")
    return None


def _syntax(text: str, params: FilterParams) -> Reason | None:
    try:
        with warnings.catch_warnings():
            # The user cannot change what the parser warns of in a source document.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Reason("does_not_parse", str(error))
    share = data_share(tree, len(text.splitlines()))
    if share > params.max_data_share:
        return Reason("mostly_data", f"{share:.0%} of the lines are literals")
    return None


def data_share(tree: ast.Module, lines: int) -> float:
    """Measure how much of a module is data.

    Args:
        tree: The module.
        lines: Number of its lines.

    Returns:
        Share of the lines in literals that are assigned at module level, 0 to 1.
    """
    literals = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, LITERALS)
    ]
    data_lines = sum((value.end_lineno or value.lineno) - value.lineno + 1 for value in literals)
    return data_lines / max(lines, 1)
