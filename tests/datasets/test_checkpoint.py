"""Checkpoints move in whole; a half-written one is refused; a failed save spoils nothing."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from kedro.io import DatasetError

from diffucoder.datasets.checkpoint import CheckpointDataset, DirectoryDataset
from diffucoder.errors import BadCheckpoint, BadData
from diffucoder.io.atomic import COMPLETE


def finished(path: Path, weights: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_text(weights)
    (path / "inner" / "config.json").write_text("{}")
    return path


def test_checkpoint_is_moved_in(tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "06_models" / "grpo"))
    assert not dataset.exists()
    source = finished(tmp_path / "work", "new")
    dataset.save(source)
    assert not source.exists()
    kept = dataset.load()
    assert kept == tmp_path / "06_models" / "grpo"
    assert (kept / "model.safetensors").read_text() == "new"
    assert (kept / "inner" / "config.json").exists()
    assert dataset.exists()


def test_directory_is_copied_in_and_does_not_follow_its_source(tmp_path: Path) -> None:
    dataset = DirectoryDataset(str(tmp_path / "tokenizer"))
    source = finished(tmp_path / "work", "first")
    dataset.save(source)
    with (source / "model.safetensors").open("a") as stream:
        stream.write("and more")
    assert (dataset.load() / "model.safetensors").read_text() == "first"


def test_second_checkpoint_replaces_the_first(tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "grpo"))
    dataset.save(finished(tmp_path / "one", "old"))
    dataset.save(finished(tmp_path / "two", "new"))
    assert (dataset.load() / "model.safetensors").read_text() == "new"


@pytest.mark.parametrize(
    ("kind", "error"), [(CheckpointDataset, BadCheckpoint), (DirectoryDataset, BadData)]
)
def test_half_written_directory_is_refused(tmp_path: Path, kind: type, error: type) -> None:
    dataset = kind(str(tmp_path / "grpo"))
    dataset.save(finished(tmp_path / "work", "new"))
    (tmp_path / "grpo" / COMPLETE).unlink()
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="half written; run the pipeline") as raised:
        dataset.load()
    assert isinstance(raised.value.__cause__, error)


def test_empty_source_is_refused_and_the_earlier_one_stays(tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "grpo"))
    dataset.save(finished(tmp_path / "work", "old"))
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(DatasetError, match="expected a directory with files"):
            dataset.save(source)
    assert (dataset.load() / "model.safetensors").read_text() == "old"


def test_own_directory_as_source_is_refused(tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "grpo"))
    dataset.save(finished(tmp_path / "work", "old"))
    with pytest.raises(DatasetError, match="build it in another"):
        dataset.save(tmp_path / "grpo")
    assert (dataset.load() / "model.safetensors").read_text() == "old"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A path on another file system, where no file can get a second name from here."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("needs a second file system")
    path = Path("/dev/shm") / f"diffucoder-{tmp_path.name}-{os.getpid()}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("kind", [CheckpointDataset, DirectoryDataset])
def test_full_disk_keeps_source_and_earlier_directory(
    tmp_path: Path,
    elsewhere: Path,
    kind: type,
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    dataset = kind(str(tmp_path / "kept"))
    dataset.save(finished(tmp_path / "work", "old"))
    source = finished(elsewhere, "new" * 1000)
    before = {entry.name for entry in tmp_path.iterdir()}
    with full_disk(), pytest.raises(DatasetError, match="File too large"):
        dataset.save(source)
    assert (dataset.load() / "model.safetensors").read_text() == "old"
    assert (source / "model.safetensors").read_text() == "new" * 1000
    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_source_on_another_file_system(tmp_path: Path, elsewhere: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "grpo"))
    dataset.save(finished(elsewhere, "new"))
    assert (dataset.load() / "model.safetensors").read_text() == "new"
    assert not elsewhere.exists()
