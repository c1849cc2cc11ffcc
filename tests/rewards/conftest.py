"""One open sandbox for all that does not ask for limits of its own."""

from collections.abc import Iterator

import pytest

from diffucoder.sandbox import Sandbox


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, memory_mb=256, cpu_s=1, wall_s=12) as opened:
        yield opened
