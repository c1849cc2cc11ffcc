"""Which line of the code each token of a completion belongs to."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise


def token_spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Where each token stands in the text that the tokens spell: (start, end) in characters.

    Args:
        pieces: the text of each token.
    """
    return list(pairwise(accumulate(map(len, pieces), initial=0)))


def lines_of_tokens(
    text: str, code: str | None, spans: Sequence[tuple[int, int]]
) -> list[int | None]:
    """For each token the line of the code, from 1, in which it begins; None outside the code.

    A line reaches over its indentation to its line break, which belongs to it. A token of no
    characters belongs to no line.

    Args:
        text: the completion.
        code: what was extracted from it; its lines may be indented further in the text.
        spans: (start, end) of each token in the text.
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
    # Extraction takes common indentation away and makes line breaks uniform.
    pattern = r"[ \t]*\r?\n".join(rf"[ \t]*{re.escape(line)}" for line in written)
    # The last place: a model that quotes its code ends with the code itself.
    places = list(re.finditer(pattern, text))
    if not places:
        return []
    start, end = places[-1].span()
    breaks = [start + found.end() for found in re.finditer("\n", text[start:end])]
    after = text.find("\n", end)
    return [start, *breaks, len(text) if after < 0 else after + 1]
