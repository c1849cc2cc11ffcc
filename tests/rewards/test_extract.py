"""Which code a completion holds, and what its format earns."""

import pytest

from diffucoder.rewards.extract import extract_code, format_reward

SOLUTION = "def f(x):\n    return x\n"

TABLE = {
    "plain": (f"```python\n{SOLUTION}```", SOLUTION),
    "py tag": (f"```py\n{SOLUTION}```\n", SOLUTION),
    "capital tag": (f"```Python\n{SOLUTION}```", SOLUTION),
    "no tag": (f"```\n{SOLUTION}```", SOLUTION),
    "prose around": (f"Sure! Here:\n\n```python\n{SOLUTION}```\nIt returns `x`.", SOLUTION),
    "opening after words": (f"Answer: ```python\n{SOLUTION}```", SOLUTION),
    "prose on the closing line": (f"```python\n{SOLUTION}``` That is all.", SOLUTION),
    "closing on the last line": ("```python\ndef f(x): return x```", "def f(x): return x"),
    "never closed": (f"```python\n{SOLUTION}", SOLUTION),
    "carriage returns": ("```python\r\nx = 1\r\n```\r\n", "x = 1\n"),
    "indented in a list": ("1. Do:\n   ```python\n   x = 1\n   ```\n", "x = 1\n"),
    "tildes": (f"~~~python\n{SOLUTION}~~~", SOLUTION),
    "longer fence": (f"````python\n{SOLUTION}````", SOLUTION),
    "example of use after": (
        f"```python\n{SOLUTION}```\nUse:\n```python\nprint(f(1), f(2), f(3), f(4))\n```",
        SOLUTION,
    ),
    "shell before": (f"```bash\npip install numpy\n```\n```python\n{SOLUTION}```", SOLUTION),
    "output after, no tag": (f"```python\n{SOLUTION}```\n```\n{'1 ' * 99}\n```", SOLUTION),
    "broken draft before": (
        f"```python\ndef f(x:\n    return x + x + x + x\n```\n```python\n{SOLUTION}```",
        SOLUTION,
    ),
    "next block without a closing": (
        f"```python\nimport os\n```python\n{SOLUTION}```",
        SOLUTION,
    ),
    "backticks in a string": (
        "```python\ndef f():\n    return '``` here'\n```",
        "def f():\n    return '``` here'\n",
    ),
    "only another language": ("```json\n{}\n```", None),
    "no fence": (SOLUTION, None),
    "inline code": ("Use `f(x)` or ```f(x)``` here.", None),
    "empty block": ("```python\n\n```", None),
    "empty text": ("", None),
}


@pytest.mark.parametrize("name", TABLE)
def test_extract_code(name: str) -> None:
    text, code = TABLE[name]
    assert extract_code(text) == code


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (SOLUTION, 0.0),
        ("```json\n{}\n```", 0.0),
        ("```python\ndef f(x) return x\n```", 0.5),
        ("```python\nx = '\0'\n```", 0.5),
        ("```python\n" + "(" * 20000 + "\n```", 0.5),
        (f"```python\n{SOLUTION}```", 1.0),
        (f"```py\n{SOLUTION}``` and so on", 1.0),
        ("```\nx = '\\d'\n```", 1.0),
    ],
)
def test_format_reward(text: str, reward: float) -> None:
    assert format_reward(text) == reward
