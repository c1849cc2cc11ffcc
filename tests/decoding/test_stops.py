"""Ending rows early, on text of one character a token."""

import pytest
import torch
from tiny_vocabulary import END, MASK, PAD, SPECIAL
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Completion, Request, decode, stops
from diffucoder.decoding.request import Stop

HEAD = "def f(x):\n"


def text(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def kept(stop: Stop, written: str) -> str | None:
    """What is kept of a text that appears character by character; None if it is never stopped."""
    for count in range(len(written) + 1):
        tokens = [ord(char) for char in written[:count]]
        if (length := stop(tokens)) is not None:
            return text(tokens[:length])
    return None


@pytest.mark.parametrize(
    ("strings", "written", "found"),
    [
        (["\n\n"], "a\nb\n\nc", "a\nb\n\n"),
        (["zz", "b"], "aabzz", "aab"),
        (["no"], "nothing else", "no"),
        (["never"], "something", None),
        ([], "something", None),
    ],
)
def test_the_first_stop_string_ends_the_text(
    strings: list[str], written: str, found: str | None
) -> None:
    assert kept(stops.at_strings(strings, text), written) == found


def test_of_a_longer_text_the_fewest_tokens_are_kept() -> None:
    stop = stops.at_strings(["cd", "ef"], text)
    assert stop([ord(char) for char in "abcdefgh"]) == 4
    assert stops.before_strings("abcdefgh", ["ef", "cd"]) == "ab"
    assert stops.before_strings("abcdefgh", ["x"]) == "abcdefgh"


def test_an_empty_stop_string_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        stops.at_strings(["a", ""], text)


@pytest.mark.parametrize(
    ("lead", "written", "found"),
    [
        ("", "Sure:\n```python\nx = 1\n```\nThis sets", "Sure:\n```python\nx = 1\n```"),
        ("", '```\ns = """\n```\n"""\n```\nmore', '```\ns = """\n```\n"""\n```'),  # within a string
        ("", "```python\nx = (1\n```\nmore", None),  # what is closed does not parse
        (HEAD, "    return x\n\nprint(f(1))\n", "    return x\n\n"),
        (HEAD, "    if x:\n        y = 1\n    return y\n", None),  # nothing follows yet
        (
            HEAD,
            "    s = '''\nleft\n'''\n    return s\ndef g",
            "    s = '''\nleft\n'''\n    return s\n",
        ),
        (
            "",
            "import os\n\ndef f():\n    return 1\n\nx = 2",
            "import os\n\ndef f():\n    return 1\n\n",
        ),
        ("", "x = 1\ny = 2\n", None),  # no definition
    ],
)
def test_complete_code_ends_the_text(lead: str, written: str, found: str | None) -> None:
    assert kept(stops.after_code(text, lead), written) == found


def run(model: PreTrainedModel, stop: Stop | None, length: int = 10) -> Completion:
    config = DecodingParams(
        rule="entropy", max_new_tokens=10, steps=10, temperature=1.2, eps=0.0, cache="dual"
    )
    stream = torch.Generator().manual_seed(4)
    request = Request([1, 2], [MASK] * length, config, END, stream, stop)
    return decode(model, [request], SPECIAL).rows[0]


def test_a_stopped_row_keeps_what_was_asked_and_computes_no_more(
    model: PreTrainedModel, queries: list[torch.Size]
) -> None:
    whole = run(model, None)
    full = len(queries)
    seen = []

    def after_two(tokens: list[int]) -> int | None:
        seen.append(list(tokens))
        return 2 if len(tokens) >= 2 else None

    row = run(model, after_two)
    assert row.reason == "stop"
    assert row.tokens == whole.tokens[:2] == row.canvas[:2].tolist()
    assert row.canvas[2:].tolist() == [PAD] * 8
    assert len(queries) - full < full
    # It is shown what stands without a gap from the start, and nothing after an end.
    assert all(tokens == whole.canvas[: len(tokens)].tolist() for tokens in seen)
    assert not any({END, PAD} & set(tokens) for tokens in seen)


def test_an_end_before_the_stop_counts_first(model: PreTrainedModel) -> None:
    whole = run(model, None)
    row = run(model, lambda tokens: 0 if len(tokens) > len(whole.tokens) else None)
    assert (row.tokens, row.reason) == (whole.tokens, whole.reason)
