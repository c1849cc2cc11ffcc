"""When to end a row early: at stop strings, and after complete code.

Both look at what is written without a gap from the canvas's start, as text.
"""

import ast
import re
from collections.abc import Callable, Sequence

from diffucoder.data.python_source import parse
from diffucoder.decoding.request import Stop

Decode = Callable[[list[int]], str]

_OPENING = re.compile(r"^(```|~~~)[^\n]*\n", re.MULTILINE)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TOP_LEVEL = re.compile(r"^(?=[^\s#)\]}])", re.MULTILINE)


def at_strings(strings: Sequence[str], decode: Decode) -> Stop:
    """Stop as soon as the text contains one of the strings.

    The fewest tokens that contain it are kept; `before_strings` removes it from their text.

    Args:
        strings: stop strings, none of them empty.
        decode: turns tokens into text.

    Raises:
        ValueError: for an empty string, which every text contains.
    """
    if not all(strings):
        raise ValueError(f"stop strings must not be empty, got {list(strings)}")

    def stop(tokens: list[int]) -> int | None:
        text = decode(tokens)
        ends = [at + len(string) for string in strings if (at := text.find(string)) >= 0]
        return _tokens_up_to(min(ends), tokens, decode) if ends else None

    return stop


def before_strings(text: str, strings: Sequence[str]) -> str:
    """The text up to the first of the strings.

    Args:
        text: the text.
        strings: stop strings; none may occur, which leaves the text as it is.
    """
    starts = [at for string in strings if (at := text.find(string)) >= 0]
    return text[: min(starts, default=len(text))]


def after_code(decode: Decode, lead: str = "") -> Stop:
    """Stop as soon as the text contains a complete program.

    A fenced block is complete when it is closed and parses. Code without a fence is complete when
    a definition in it is: the code so far parses and another line begins at the margin; that
    line is not kept.

    Args:
        decode: turns tokens into text.
        lead: code before the canvas that the text continues, such as a function's head.
    """

    def stop(tokens: list[int]) -> int | None:
        text = decode(tokens)
        opening = _OPENING.search(text)
        end = _fence_end(text, opening) if opening else _definition_end(text, lead)
        return None if end is None else _tokens_up_to(end, tokens, decode)

    return stop


def _fence_end(text: str, opening: re.Match[str]) -> int | None:
    for closing in re.compile(f"^{opening[1]}", re.MULTILINE).finditer(text, opening.end()):
        if parse(text[opening.end() : closing.start()]):
            return closing.end()
    return None


def _definition_end(text: str, lead: str) -> int | None:
    for line in _TOP_LEVEL.finditer(lead + text):
        end = line.start() - len(lead)
        tree = parse(lead + text[:end]) if end > 0 else None
        if tree and any(isinstance(node, _DEFINITIONS) for node in tree.body):
            return end
    return None


def _tokens_up_to(end: int, tokens: list[int], decode: Decode) -> int:
    """The fewest tokens whose text reaches `end`."""
    counts = range(len(tokens) + 1)
    return next(count for count in counts if len(decode(tokens[:count])) >= end)
