"""A directory is either whole or not there, and what was there before stays until then."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffucoder.errors import BadCheckpoint
from diffucoder.io.atomic import COMPLETE, atomic_directory, is_complete, require_complete


def contents(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_directory(target) as partial:
        (partial / "weights").write_text("1")
        assert not target.exists()
    assert contents(target) == {"weights", COMPLETE}
    assert contents(tmp_path / "deep") == {"model"}


def test_failure_keeps_the_earlier_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as partial:
        (partial / "weights").write_text("old")
    with pytest.raises(OSError, match="No space left"), atomic_directory(target) as partial:
        (partial / "weights").write_text("new")
        # /dev/full refuses every write the way a full disk does.
        with open("/dev/full", "w") as full:
            full.write("x")
    assert (target / "weights").read_text() == "old"
    assert is_complete(target)
    assert contents(tmp_path) == {"model"}


def test_replacement_leaves_no_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("first", "second"):
        with atomic_directory(target) as partial:
            (partial / name).touch()
    assert contents(target) == {"second", COMPLETE}


def test_killed_writer_is_cleaned_up(tmp_path: Path) -> None:
    target = tmp_path / "model"
    program = (
        "import os, signal, sys\n"
        "from diffucoder.io.atomic import atomic_directory\n"
        "with atomic_directory(sys.argv[1]) as partial:\n"
        "    (partial / 'weights').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert len(contents(tmp_path)) == 1 and not target.exists()
    with atomic_directory(target) as partial:
        (partial / "weights").touch()
    assert contents(tmp_path) == {"model"}


def test_directory_moved_aside_by_a_killed_writer_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as partial:
        (partial / "weights").write_text("old")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    target.rename(tmp_path / f".model.{gone.pid}.previous")
    with pytest.raises(RuntimeError), atomic_directory(target):
        raise RuntimeError
    assert (target / "weights").read_text() == "old"


def test_require_complete_names_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such directory; run it"):
        require_complete(tmp_path / "absent", BadCheckpoint, "run it")
    with pytest.raises(BadCheckpoint, match=f"{tmp_path.name}.*half written; run it"):
        require_complete(tmp_path, BadCheckpoint, "run it")
    (tmp_path / COMPLETE).touch()
    assert require_complete(str(tmp_path), BadCheckpoint, "run it") == tmp_path
