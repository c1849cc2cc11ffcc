"""The pictures of the README: what stands where, and when it is shown."""

import re
from collections.abc import Callable
from types import ModuleType
from xml.etree import ElementTree

import pandas as pd
import pytest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pictures(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("pictures")


def completions() -> pd.DataFrame:
    rows = [
        ("a", "instruct", True, 5),
        ("a", "grpo", True, 9),
        ("b", "instruct", False, 5),
        ("b", "grpo", True, 4),
        ("c", "instruct", False, 5),
        ("c", "grpo", True, 6),
        ("d", "instruct", False, 5),
        ("d", "grpo", False, 8),
    ]
    table = pd.DataFrame(rows, columns=["problem_id", "checkpoint", "passed", "length"])
    return table.assign(suite="heldout", decoding="greedy")


def test_the_longest_of_the_answers_that_were_learned_is_shown(pictures: ModuleType) -> None:
    before, after = pictures.answers(completions())
    assert (before["problem_id"], before["checkpoint"]) == ("c", "instruct")
    assert (after["problem_id"], after["checkpoint"]) == ("c", "grpo")
    assert pictures.answers(completions(), "a")[1]["length"] == 9
    with pytest.raises(SystemExit, match="not among the held-out problems"):
        pictures.answers(completions(), "z")


def test_tokens_stand_where_the_text_has_them(pictures: ModuleType) -> None:
    slots = pictures.layout(["ab", ":\n  ", "c"], [2, 0, 1])
    assert [(slot.text, slot.line, slot.column, slot.step) for slot in slots] == [
        ("ab", 0, 0, 2),
        (":", 0, 2, 0),
        ("↵", 0, 3, 0),
        ("  ", 1, 0, 0),
        ("c", 1, 2, 1),
    ]


def test_every_token_appears_at_its_step(pictures: ModuleType) -> None:
    drawn = pictures.denoising("Write <f>.", ["if x", "<", "1"], [1, 0, 1])
    root = ElementTree.fromstring(drawn)
    texts = {text.text: text.get("class") for text in root.iter(f"{SVG}text")}
    assert texts == {"Write <f>.": "prompt", "if x": "t1", "<": "t0", "1": "t1"}
    masks = [
        rect.get("class") for rect in root.iter(f"{SVG}rect") if "m " in (rect.get("class") or "")
    ]
    assert masks == ["m m1", "m m0", "m m1"]
    assert set(re.findall(r"@keyframes (\w+)", drawn)) == {"bar", "t0", "t1", "m0", "m1"}


def test_colours_go_from_the_first_to_the_last(pictures: ModuleType) -> None:
    ends = ["#" + "".join(f"{value:02x}" for value in colour) for colour in pictures.HEAT]
    assert [pictures.heat(share) for share in (0.0, 0.5, 1.0)] == ends


def test_the_curve_has_every_step(pictures: ModuleType) -> None:
    rows = [(step, "reward/total", step / 2) for step in range(1, 5)]
    rows += [(step, "pass_rate", step / 4) for step in range(1, 5)]
    rows += [(0, "validation/pass_rate", 0.25), (4, "validation/pass_rate", 0.5)]
    drawn = pictures.reward(pd.DataFrame(rows, columns=["step", "name", "value"]))
    root = ElementTree.fromstring(drawn)
    dots = [dot.get("class") for dot in root.iter(f"{SVG}circle")]
    assert dots == ["a raw"] * 8 + ["b dot"] * 2
    assert {"25%", "50%"} <= {text.text for text in root.iter(f"{SVG}text")}
    # The last step is at the right edge; a pass rate of 1 at the top.
    assert pictures.Panel(0, 4, 1.0).point(4, 1.0) == "300.0,48.0"
