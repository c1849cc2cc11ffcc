"""The numbers of docs/scaling.md are those of the planner and of conf/paper."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scaling(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("scaling")


def test_the_document_has_the_tables_that_are_computed(scaling: ModuleType) -> None:
    document = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for table in (scaling.costs(), scaling.memory()):
        assert table in document, (
            "run benchmarks/scaling.py and put its tables into docs/scaling.md"
        )


def test_a_token_of_stage_one_by_hand(scaling: ModuleType) -> None:
    # Queries and their output, keys and values of 4 heads of 28, three feed-forward matrices.
    layer = 2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944
    body, attention = 6 * 28 * layer, 12 * 28 * 3584 * 4096
    token = (body + attention) * 4 / 3 + 6 * 152_064 * 3584 / 2
    first = scaling.stages()[0]
    assert first.tokens == 100_000 * 160 * 4096
    assert first.operations == pytest.approx(token * first.tokens, rel=1e-9)
    document = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert re.search(rf"Together {token / 1e9:.1f} G\.", document)


@pytest.mark.parametrize(
    ("gpus", "group", "rows"), [(1, 1, 160), (8, 10, 160), (64, 1, 192), (64, 10, 640)]
)
def test_batches_that_ranks_can_share(
    scaling: ModuleType, gpus: int, group: int, rows: int
) -> None:
    training = scaling.stages()[0].training
    assert scaling.batch_for(training, gpus, group) == rows
