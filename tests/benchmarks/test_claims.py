"""The table of claims as text; chain and studies are not run here."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from diffucoder.studies.claims import Claim


@pytest.fixture(scope="module")
def claims(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("claims")


def test_the_table_holds_every_claim(claims: ModuleType) -> None:
    rows = [
        Claim("A.", "a share", (1.25, -0.5, 3.0), "points", "undecided", 2, 96, ""),
        Claim("B.", "a variance", None, "%", "undecided", 0, 0, "Not measured."),
    ]
    assert claims.markdown(rows, [3, 5]).splitlines()[2:] == [
        "| claim | measure | effect | verdict |",
        "|---|---|---|---|",
        "| A. | a share | +1.2 points [-0.5, +3.0] | undecided |",
        "| B. | a variance | not measured | undecided |",
    ]


def test_a_seed_without_studies_is_not_complete(claims: ModuleType, tmp_path: Path) -> None:
    for part in claims.PARTS.values():
        assert not claims.is_complete(tmp_path)
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).touch()
    assert claims.is_complete(tmp_path)


def test_the_page_of_results_has_a_place_for_it(claims: ModuleType) -> None:
    page = claims.PAGE.read_text(encoding="utf-8")
    changed = claims.between_markers(page, "a table", claims.MARKERS)
    assert "<!-- claims:begin -->\na table\n<!-- claims:end -->" in changed
