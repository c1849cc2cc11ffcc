from pathlib import Path
from typing import Any

import pytest

from diffucoder.engine.job import DIGEST_BYTES, Job, quick_digest
from diffucoder.errors import MissingInput


def make(folder: Path, parameters: dict[str, Any], **inputs: Path) -> Job:
    return Job(
        stage="tiny",
        parameters=parameters,
        inputs=inputs,
        work=folder / "work",
        output=folder / "model",
        seed=1,
    )


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = make(tmp_path, {"training": {"steps": 3, "betas": [0.9, 0.99]}})
    job.save(tmp_path / "job.json")
    assert Job.load(tmp_path / "job.json") == job


def test_the_fingerprint_ignores_what_changes_no_result(tmp_path: Path) -> None:
    def of(**engine: Any) -> str:
        return make(tmp_path, {"training": {"steps": 3, "engine": engine}}).fingerprint()

    assert of(nproc_per_node=1, threads=1, micro_batch=8) == of(
        nproc_per_node=2, threads=4, micro_batch=2
    )
    assert of(zero_stage=1) != of(zero_stage=2)


def test_the_identity_follows_the_content_of_inputs(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "part").write_bytes(b"a" * 3 * DIGEST_BYTES)
    job = make(tmp_path, {}, shards=shards)
    before = job.identity()
    (shards / "part").write_bytes(b"a" * 3 * DIGEST_BYTES)
    assert job.identity() == before
    (shards / "part").write_bytes(b"a" * (3 * DIGEST_BYTES - 1) + b"b")
    assert job.identity().keys() == before.keys()
    assert job.identity()["inputs.shards"] != before["inputs.shards"]


def test_a_small_file_counts_to_its_last_byte(tmp_path: Path) -> None:
    file = tmp_path / "file"
    seen = set()
    for content in (b"", b"a", b"b", b"ab"):
        file.write_bytes(content)
        seen.add(quick_digest(file))
    assert len(seen) == 4


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"nowhere: this input does not exist"):
        make(tmp_path, {}, tokenizer=tmp_path / "nowhere").identity()
