"""Every promise of `docs/sandbox.md` names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_promises_name_tests_that_exist() -> None:
    text = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
    promises = [line for line in text.splitlines() if line.startswith("| ") and "`test_" in line]
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    defined = set(re.findall(r"^def (test_\w+)", "\n".join(sources), re.MULTILINE))
    assert len(promises) >= 15
    assert named <= defined
