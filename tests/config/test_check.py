"""Messages about wrong parameters."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.config.check import validated
from diffucoder.errors import BadParameters


class Folder(Params):
    kind: Literal["folder"]
    pattern: str


class Table(Params):
    kind: Literal["table"]
    column: str


class Stage(Params):
    steps: int = Field(ge=1)
    rate: float
    sources: list[Annotated[Folder | Table, Field(discriminator="kind")]] = []
    table: Table | None = None


class Tree(Params):
    stage: Stage


def message(tree: dict[str, object]) -> str:
    with pytest.raises(BadParameters) as raised:
        validated(Tree, tree, "a test")
    return str(raised.value)


def test_valid_tree_is_returned_typed() -> None:
    assert validated(Tree, {"stage": {"steps": 2, "rate": 0.5}}, "a test").stage.steps == 2


def test_close_name_is_suggested() -> None:
    text = message({"stage": {"steps": 1, "rate": 1.0, "stesp": 2}})
    assert text == "1 wrong in a test:\n  stage.stesp: unknown key; did you mean 'steps'?"


def test_far_name_lists_what_is_known() -> None:
    text = message({"stage": {"steps": 1, "rate": 1.0, "qqq": 2}})
    assert "stage.qqq: unknown key; known here: rate, sources, steps, table" in text


def test_suggestion_in_a_list_of_kinds() -> None:
    source = {"kind": "folder", "pattern": "*", "patern": "*"}
    text = message({"stage": {"steps": 1, "rate": 1.0, "sources": [source]}})
    assert "stage.sources.0.folder.patern: unknown key; did you mean 'pattern'?" in text


def test_suggestion_in_an_optional_part() -> None:
    table = {"kind": "table", "column": "a", "colum": "b"}
    text = message({"stage": {"steps": 1, "rate": 1.0, "table": table}})
    assert "stage.table.colum: unknown key; did you mean 'column'?" in text


def test_value_and_missing_key_are_reported_together() -> None:
    text = message({"stage": {"steps": 0}})
    assert "2 wrong" in text
    assert "stage.steps: got 0; input should be greater than or equal to 1" in text
    assert "stage.rate: missing" in text


def test_long_value_is_cut() -> None:
    assert len(message({"stage": {"steps": "x" * 10_000, "rate": 1.0}})) < 300
