"""One open sandbox for all tests that need no limits of their own."""

from collections.abc import Iterator

import pytest

from diffucoder.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Two workers with small limits."""
    with Sandbox(workers=2, memory_mb=256, cpu_s=1, wall_s=12) as opened:
        yield opened
