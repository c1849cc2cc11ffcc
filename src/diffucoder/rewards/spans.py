"""The line of the code that each token of a completion belongs to."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise


def token_spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Locate tokens in the text that they form.

    Args:
        pieces: The text of each token.

    Returns:
        (start, end) of each token, in characters.
    """
    return list(pairwise(accumulate(map(len, pieces), initial=0)))


def lines_of_tokens(
    text: str, code: str | None, spans: Sequence[tuple[int, int]]
) -> list[int | None]:
    """Map tokens to lines of the code.

    A line includes its indentation and its line break. A token without characters belongs to no
    line.

    Args:
        text: The completion.
        code: The code extracted from it; its lines may be indented further in the text.
        spans: (start, end) of each token in the text.

    Returns:
        For each token the line in which it begins, from 1; None outside the code.
    """
    starts = _line_starts(text, code) if code else []
    lines: list[int | None] = []
    for start, end in spans:
        inside = bool(starts) and starts[0] <= start < starts[-1] and end > start
        lines.append(sum(first <= start for first in starts) if inside else None)
    return lines


def _line_starts(text: str, code: str) -> list[int]:
    """Where each line of the code starts in the text, and where the last one ends."""
    written = [line.strip() for line in code.rstrip().splitlines()]
    # Extraction removes common indentation and makes line breaks uniform.
    pattern = r"[ \t]*\r?\n".join(rf"[ \t]*{re.escape(line)}" for line in written)
    # The last match: a model that quotes its code ends with the code itself.
    matches = list(re.finditer(pattern, text))
    if not matches:
        return []
    start, end = matches[-1].span()
    breaks = [start + match.end() for match in re.finditer("\n", text[start:end])]
    after = text.find("\n", end)
    return [start, *breaks, len(text) if after < 0 else after + 1]
