from pathlib import Path
from typing import Any

import pytest

from diffucoder.engine import saves
from diffucoder.engine.job import Job
from diffucoder.errors import BadParameters


def make_job(folder: Path, rate: float) -> Job:
    parameters = {"training": {"optimizer": {"learning_rate": rate}}}
    return Job(
        stage="tiny",
        parameters=parameters,
        inputs={},
        work=folder,
        output=folder / "model",
        seed=1,
    )


def write(work: Path, step: int, identity: dict[str, Any]) -> Path:
    target = saves.folder(work, step)
    with saves.atomic_directory(target) as partial:
        saves.write_manifest(partial, step, 1, identity)
    return target


def test_an_unfinished_save_is_no_save(tmp_path: Path) -> None:
    write(tmp_path, 3, {})
    (write(tmp_path, 12, {}) / "COMPLETE").unlink()
    newest = saves.latest(tmp_path)
    assert newest is not None
    assert newest.step == 3


def test_pruning_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        write(tmp_path, step, {})
    saves.prune(tmp_path, keep=2)
    assert [save.step for save in saves.saves_of(tmp_path)] == [10, 100]


def test_saves_of_an_equal_job_pass(tmp_path: Path) -> None:
    job = make_job(tmp_path, 0.1)
    write(tmp_path, 5, job.identity())
    saves.check(job, "refuse")
    assert saves.latest(tmp_path) is not None


def test_saves_of_a_changed_job_are_refused_by_key(tmp_path: Path) -> None:
    write(tmp_path, 5, make_job(tmp_path, 0.1).identity())
    with pytest.raises(
        BadParameters, match=r"parameters.training.optimizer.learning_rate was 0.1, is 0.2"
    ):
        saves.check(make_job(tmp_path, 0.2), "refuse")
    assert saves.latest(tmp_path) is not None


def test_saves_of_a_changed_job_are_cleared_when_told_to(tmp_path: Path) -> None:
    write(tmp_path, 5, make_job(tmp_path, 0.1).identity())
    saves.check(make_job(tmp_path, 0.2), "restart")
    assert saves.latest(tmp_path) is None
