from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.spans import lines_of_tokens, token_spans

CODE = "def f(x):\n    y = x\n\n    return y"


def by_line(text: str, code: str | None) -> dict[int | None, str]:
    """The characters of a text by the line they are laid to, each a token."""
    lines = lines_of_tokens(text, code, token_spans(list(text)))
    found: dict[int | None, str] = {}
    for character, line in zip(text, lines, strict=True):
        found[line] = found.get(line, "") + character
    return found


def test_spans_are_contiguous() -> None:
    assert token_spans(["def", "", " f"]) == [(0, 3), (3, 3), (3, 5)]


@pytest.mark.parametrize("before", ["", "Here:\n", "I return y, as in `return y`:\n"])
@pytest.mark.parametrize("after", ["", "\n", "\nDone: it returns x."])
def test_lines_are_found_inside_their_fence(before: str, after: str) -> None:
    text = f"{before}```python\n{CODE}\n```{after}"
    found = by_line(text, extract_code(text))
    assert found[1] == "def f(x):\n" and found[2] == "    y = x\n"
    assert found[3] == "\n" and found[4] == "    return y\n"
    assert found[None] == f"{before}```python\n```{after}"


def test_indented_and_windows_blocks_are_found() -> None:
    indented = "".join(f"  {line}\r\n" for line in CODE.splitlines())
    text = f"- so:\r\n  ```py\r\n{indented}  ```"
    found = by_line(text, extract_code(text))
    assert found[2] == "      y = x\r\n" and found[4] == "      return y\r\n"


def test_a_token_over_a_line_break_belongs_where_it_begins() -> None:
    text = f"```\n{CODE}\n```"
    start = text.index(":\n")
    assert lines_of_tokens(text, CODE, [(start, start + 6), (start + 1, start + 1)]) == [1, None]


def test_without_code_no_token_has_a_line() -> None:
    assert lines_of_tokens("prose", None, [(0, 5)]) == [None]
    assert lines_of_tokens("prose", "x = 1", [(0, 5)]) == [None]


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_any_cutting_into_tokens_agrees_with_single_characters(cuts: list[int]) -> None:
    text = f"So:\n```python\n{CODE}\n```\nEnd."
    edges = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    single = lines_of_tokens(text, CODE, token_spans(list(text)))
    lines = lines_of_tokens(text, CODE, token_spans(pieces))
    assert lines == [single[start] for start in edges[:-1]]
