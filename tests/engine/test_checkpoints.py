from pathlib import Path
from typing import Any

import pytest

from diffucoder.engine import checkpoints
from diffucoder.engine.job import Job
from diffucoder.errors import BadParameters
from diffucoder.io.atomic import atomic_directory


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


def write(work: Path, step: int, identity: dict[str, Any], score: float | None = None) -> Path:
    target = checkpoints.folder(work, step)
    with atomic_directory(target) as partial:
        checkpoints.write_manifest(partial, step, 1, score, identity)
    return target


def test_an_unfinished_save_is_no_save(tmp_path: Path) -> None:
    write(tmp_path, 3, {})
    (write(tmp_path, 12, {}) / "COMPLETE").unlink()
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    assert newest.step == 3


def test_pruning_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        write(tmp_path, step, {})
    checkpoints.prune(tmp_path, keep=2, keep_best=False)
    assert [save.step for save in checkpoints.saves_of(tmp_path)] == [10, 100]


def test_pruning_spares_the_best(tmp_path: Path) -> None:
    scores = {5: -3.0, 10: -1.0, 15: None, 20: -1.0, 100: -2.0, 200: -2.0}
    for step, score in scores.items():
        write(tmp_path, step, {}, score)
    checkpoints.prune(tmp_path, keep=2, keep_best=True)
    assert [save.step for save in checkpoints.saves_of(tmp_path)] == [20, 100, 200]
    checkpoints.prune(tmp_path, keep=1, keep_best=True)
    assert [save.step for save in checkpoints.saves_of(tmp_path)] == [20, 200]


def test_what_killed_writers_left_is_cleared(tmp_path: Path) -> None:
    kept = write(tmp_path, 5, {})
    for name in (".step-00000007.4.partial", ".step-00000003.discarded"):
        (tmp_path / "saves" / name).mkdir()
    checkpoints.recover(tmp_path)
    assert list((tmp_path / "saves").iterdir()) == [kept]


def test_saves_of_an_equal_job_pass(tmp_path: Path) -> None:
    job = make_job(tmp_path, 0.1)
    write(tmp_path, 5, job.identity())
    checkpoints.check(job, "refuse")
    assert checkpoints.latest(tmp_path) is not None


def test_saves_of_a_changed_job_are_refused_by_key(tmp_path: Path) -> None:
    write(tmp_path, 5, make_job(tmp_path, 0.1).identity())
    with pytest.raises(
        BadParameters, match=r"parameters.training.optimizer.learning_rate was 0.1, is 0.2"
    ):
        checkpoints.check(make_job(tmp_path, 0.2), "refuse")
    assert checkpoints.latest(tmp_path) is not None


def test_saves_of_a_changed_job_are_cleared_when_told_to(tmp_path: Path) -> None:
    write(tmp_path, 5, make_job(tmp_path, 0.1).identity())
    checkpoints.check(make_job(tmp_path, 0.2), "restart")
    assert checkpoints.latest(tmp_path) is None
