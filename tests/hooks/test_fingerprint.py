"""What counts as a node's code."""

from pathlib import Path

import pytest

from diffucoder.hooks.fingerprint import package_digest


def test_modules_that_a_package_finds_by_listing_them_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "finder/__init__.py": "",
        "finder/stage/__init__.py": "from finder import parts\n",
        "finder/parts/__init__.py": "from pkgutil import iter_modules\n",
        "finder/parts/one.py": "X = 1\n",
        "finder/other/__init__.py": "",
        "finder/other/one.py": "X = 1\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("finder")

    def digest() -> str:
        package_digest.cache_clear()
        return package_digest("finder.stage")

    before = digest()
    (tmp_path / "finder/other/one.py").write_text("X = 2\n")
    assert digest() == before, "nothing leads there"
    (tmp_path / "finder/parts/one.py").write_text("X = 2\n")
    assert digest() != before
