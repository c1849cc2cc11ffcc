from random import Random

import pytest

from diffucoder.data.families.inputs import GENERATORS
from diffucoder.data.families.parts import SOURCES


def test_every_source_names_its_inputs() -> None:
    for parts in SOURCES.values():
        assert all(part.inputs in GENERATORS for part in parts)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_inputs_repeat_with_the_seed_and_vary_otherwise(name: str) -> None:
    def drawn(seed: int) -> list:
        random = Random(seed)
        return [GENERATORS[name](random) for _ in range(50)]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert len({repr(value) for value in drawn(0)}) > 10


@pytest.mark.parametrize(("name", "edge"), [("integers", []), ("text", ""), ("counts", {})])
def test_the_empty_input_is_common(name: str, edge: object) -> None:
    random = Random(0)
    share = sum(GENERATORS[name](random) == edge for _ in range(500)) / 500
    assert 0.05 < share < 0.4
