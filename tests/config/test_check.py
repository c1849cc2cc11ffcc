"""Messages about wrong parameters."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, Field

from diffucoder.config.base import Params
from diffucoder.config.check import RENAMED, validated
from diffucoder.config.expand import expand
from diffucoder.config.root import Parameters
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


def paths(annotation: Any, above: str = "") -> Iterator[str]:
    """Dotted paths of all settings in a tree of models, each with a dot before it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield f"{above}.{name}"
            yield from paths(field.annotation, f"{above}.{name}")
    for argument in get_args(annotation):
        yield from paths(argument, above)


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


# Those of options under labels: tests/config/test_labels.py.
@pytest.mark.parametrize(
    ("old", "new"),
    [names for names in RENAMED.items() if not names[1].startswith(("estimators.", "objectives."))],
)
def test_a_renamed_key_is_told_where_it_stands_now(old: str, new: str) -> None:
    known, (new, *remark) = list(paths(Parameters)), new.split(", ")
    now = next(path for path in known if path.endswith(f".{new}"))
    assert not any(path.endswith(f".{old}") for path in known)
    before = now.removesuffix(new) + old
    tree: Any = 1
    for key in reversed(before.split(".")[1:]):
        tree = {key: tree}
    with pytest.raises(BadParameters) as raised:
        validated(Parameters, tree, "a test")
    expected = ", ".join([now[1:], *remark])
    assert f"  {before[1:]}: was renamed to {expected}\n" in str(raised.value)


def test_a_renamed_default_is_told_where_it_stands_now() -> None:
    with pytest.raises(BadParameters, match=r"engine\.ranks: was renamed to engine\.nproc"):
        expand({"engine": {"ranks": 2}})
