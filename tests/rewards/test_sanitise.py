"""EvalPlus-like sanitising: the longest program in a text, cut down to what is needed."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffucoder.rewards.sanitise import longest_program, sanitise

F = "def f(x):\n    return helper(x) + LIMIT"
HELPER = "def helper(x):\n    return x"

TABLE = {
    "only what the entry point reaches": (
        f"import math\nLIMIT = 3\nOTHER = 4\n{HELPER}\ndef unused():\n    return 1\n{F}\n"
        "print(f(1))\nassert f(1) == 4",
        f"import math\nLIMIT = 3\n{HELPER}\n{F}",
    ),
    "prose and fences around": (f"Sure:\n```python\n{F}\n```\nThis adds the limit.", F),
    "the longest of several blocks": (f"```py\nx = 1\n```\nor\n```\n{HELPER}\n{F}\n```",
                                      f"{HELPER}\n{F}"),
    "a stub with a docstring goes": (
        f'def f(x):\n    """Adds."""\n\n{HELPER}\n\n{F}', f"{HELPER}\n{F}",
    ),
    "the first of two that return": (f"{F}\ndef f(x):\n    return 0", F),
    "decorators stay": (
        f"from functools import cache\n@cache\n@cache\n{F}",
        f"from functools import cache\n@cache\n@cache\n{F}",
    ),
    "a helper without a return stays": (
        "def fill(a):\n    a.append(1)\ndef f(a):\n    fill(a)\n    return a",
        "def fill(a):\n    a.append(1)\ndef f(a):\n    fill(a)\n    return a",
    ),
    "classes and their users": (
        "class Node:\n    pass\nclass Leaf(Node):\n    pass\ndef f(x):\n    return Leaf()",
        "class Node:\n    pass\nclass Leaf(Node):\n    pass\ndef f(x):\n    return Leaf()",
    ),
    "names assigned together": ("a, b = 1, 2\nc: int = 3\ndef f():\n    return b + c",
                                "a, b = 1, 2\nc: int = 3\ndef f():\n    return b + c"),
    "cut off in the middle": (f"{HELPER}\n{F}\ndef g(x):\n    return (x +", f"{HELPER}\n{F}"),
    "carriage returns": ("def f(x):\r\n    return x\r\n", "def f(x):\n    return x"),
    "a program of statements": ("print(1)\nprint(2)", "print(1)\nprint(2)"),
    "no entry point, imports only": ("import os\ndef g(): return 1", "import os"),
    "prose": ("No program here, sorry!", None),
    "nothing": ("", None),
    "blank": ("\n  \n", None),
    "null bytes": ("\0", None),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_sanitise(name: str) -> None:
    text, program = TABLE[name]
    assert sanitise(text, "f") == program


def test_every_definition_is_kept_without_an_entry_point() -> None:
    assert sanitise(f"{HELPER}\n{F}\nprint(1)") == f"{HELPER}\n{F}"


LINES = [
    "def f(x):", "    return x", "", "x = 1", "Here is it:", "```python", "```", "class A:",
    "    def g(self):", "        return (1,", "        2)", "    '''doc", "    '''", "x = '''",
    "y = [1,", "]", "if x:", "else:", "    pass", "@dec", "import os", "try:", "except E:",
    "  odd", "\\", "f(a=1, 2)", "print('a", "'''", "x = f'{1", "match x:", "    case 1:", "# note",
    "async def h():", "    await x", ")", "lambda", "with a as b, \\", "     c as d:", "\tx = 1",
]  # fmt: skip


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def _filled(code: str | None) -> int:
    return sum(1 for line in (code or "").split("\n") if line.strip())


@given(st.lists(st.sampled_from(LINES), max_size=12))
@settings(max_examples=400)
def test_the_longest_span_is_that_of_all_pairs_of_lines(lines: list[str]) -> None:
    found = longest_program("\n".join(lines))
    spans = (
        "\n".join(lines[start:end])
        for start in range(len(lines))
        for end in range(start + 1, len(lines) + 1)
    )
    longest = max((_filled(span) for span in spans if _parses(span)), default=0)
    assert _filled(found) == longest
    assert found is None or _parses(found)


def test_a_long_text_takes_few_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    parses = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda code: parses.append(1) or parse(code))
    longest_program("Some prose, and more of it.\n" * 300 + F)
    assert len(parses) < 1000
