"""Digests follow contents, not names of folders or times."""

import os
import shutil
from pathlib import Path

from diffucoder.datasets.identity import digest, signature


def test_equal_contents_have_equal_digests(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "inner").mkdir(parents=True)
    (first / "a").write_text("1")
    (first / "inner" / "b").write_text("2")
    shutil.copytree(first, tmp_path / "second")
    os.utime(tmp_path / "second" / "a", (0, 0))
    assert digest(first) == digest(tmp_path / "second")
    assert signature(first) != signature(tmp_path / "second")


def test_digest_follows_contents_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = digest(folder)
    (folder / "a").write_text("22")
    changed = digest(folder)
    (folder / "a").rename(folder / "b")
    assert len({before, changed, digest(folder)}) == 3


def test_single_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
