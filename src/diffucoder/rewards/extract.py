"""Extraction of code from a completion, and whether it parses."""

import ast
import re
import textwrap

from diffucoder.data.python_source import parse

# An opening fence ends its line; a closing one starts a line or ends one.
_OPENING = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*\n")
_CLOSING = r"^[ \t]{{0,3}}{0}|{0}[ \t]*$"
_PYTHON = {"python", "py", "python3", "py3"}


def extract_code(text: str) -> str | None:
    """Extract the code of a completion.

    Blocks tagged `python` or `py` are Python, and so are blocks without a tag when there is none
    with one. A fence that is never closed reaches to the end of the text. Of several blocks the
    longest is taken; blocks that parse and define something go before those that only parse, and
    these before the rest.

    Args:
        text: The completion.

    Returns:
        The code without its fences and common indentation; None if there is no fenced block of
        Python.
    """
    blocks = [(tag, code) for tag, code in _blocks(text) if code.strip()]
    tagged = [code for tag, code in blocks if tag in _PYTHON]
    candidates = tagged or [code for tag, code in blocks if not tag]
    return max(candidates, key=_merit, default=None)


def format_reward(text: str) -> float:
    """Reward a completion for its format.

    Source: the format reward of DiffuCoder (arXiv 2506.20639, section 5).

    Args:
        text: The completion.

    Returns:
        0 without a fenced block of Python, 0.5 for one that does not parse, 1 for one that does.
    """
    code = extract_code(text)
    if code is None:
        return 0.0
    return 1.0 if parse(code) is not None else 0.5


def _blocks(text: str) -> list[tuple[str, str]]:
    """(tag, content) of each fenced block, in order."""
    text = text.replace("\r\n", "\n")
    blocks, at = [], 0
    while opening := _OPENING.search(text, at):
        closing = re.compile(_CLOSING.format(re.escape(opening[1])), re.MULTILINE)
        end = closing.search(text, opening.end())
        content = text[opening.end() : end.start() if end else len(text)]
        blocks.append((opening[2].lower(), textwrap.dedent(content)))
        if end is None:
            break
        # A line such as "```python" closes one block and opens the next.
        reopening = _OPENING.match(text, end.start())
        at = end.start() if reopening and reopening[2] else end.end()
    return blocks


def _merit(code: str) -> tuple[bool, bool, int]:
    tree = parse(code)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defines = tree is not None and any(isinstance(node, definitions) for node in tree.body)
    return defines, tree is not None, len(code)
