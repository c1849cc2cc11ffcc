from pathlib import Path

from diffucoder.config.training import ConstantSchedule
from diffucoder.datasets.checkpoint import CheckpointDataset
from diffucoder.engine.stage import DONE_MARKER, new_job, output_was_moved
from diffucoder.io.atomic import atomic_directory


def test_a_model_is_handed_over_once_the_catalog_has_it(tmp_path: Path) -> None:
    params = ConstantSchedule(kind="constant", warmup_steps=0)
    job = new_job("stage", params, {}, tmp_path / "work", seed=0)
    assert not output_was_moved(job.work), "not begun"
    with atomic_directory(job.output) as partial:
        (partial / "config.json").write_text("{}")
    (job.work / DONE_MARKER).write_text(job.fingerprint())
    assert not output_was_moved(job.work), "made, and still here"
    CheckpointDataset(filepath=str(tmp_path / "kept")).save(job.output)
    assert output_was_moved(job.work)


def test_paths_of_a_job_are_absolute(tmp_path: Path) -> None:
    params = ConstantSchedule(kind="constant", warmup_steps=0)
    job = new_job("stage", params, {"model": Path("data/model")}, "data/work", seed=0)
    assert job.inputs["model"].is_absolute()
    assert job.work.is_absolute()
    assert job.output.is_relative_to(job.work)
