"""The job file: all that a stage's ranks need to know, written by its node."""

import hashlib
import json
from pathlib import Path
from typing import Any

from diffucoder.config.base import Params
from diffucoder.config.engine import RESUMABLE_WITH_ANY
from diffucoder.errors import MissingInput
from diffucoder.tracking.flatten import flatten

# Weights of another training differ everywhere, so the ends of a large file tell them apart.
DIGEST_BYTES = 1 << 16


class Job(Params):
    """One stage's work.

    Attributes:
        stage: name of the stage, for messages and for generators of its own.
        parameters: the stage's resolved parameters, as JSON values.
        inputs: absolute paths of what the stage reads, by name.
        work: absolute path of the folder for saves, metrics and logs.
        output: absolute path of the folder to write: a Hugging Face directory where a model is
            trained, else one of tables.
        seed: random seed of the stage.
    """

    stage: str
    parameters: dict[str, Any]
    inputs: dict[str, Path]
    work: Path
    output: Path
    seed: int

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(self.model_dump_json(indent=2), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Job":
        """Read what `save` wrote."""
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))

    def identity(self) -> dict[str, Any]:
        """What the result depends on, flat: dotted parameter keys, seed, digests of inputs.

        Raises:
            MissingInput: if an input does not exist.
        """
        digests = {f"inputs.{name}": quick_digest(path) for name, path in self.inputs.items()}
        parameters = {
            f"parameters.{key}": value
            for key, value in flatten(self.parameters).items()
            if not _changes_no_result(key)
        }
        return {"stage": self.stage, "seed": self.seed, **parameters, **digests}

    def fingerprint(self) -> str:
        """SHA-256 of `identity`, in hex."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def quick_digest(path: Path) -> str:
    """Digest of a file or folder: names, sizes, and both ends of every file's content.

    Raises:
        MissingInput: if there is nothing at `path`.
    """
    if not path.exists():
        raise MissingInput(f"{path}: this input does not exist; run the stage that makes it")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        total.update(f"{file.relative_to(path.parent)}\0{size}\0".encode())
        with file.open("rb") as stream:
            total.update(stream.read(DIGEST_BYTES))
            stream.seek(max(DIGEST_BYTES, size - DIGEST_BYTES))
            total.update(stream.read(DIGEST_BYTES))
    return total.hexdigest()


def _changes_no_result(key: str) -> bool:
    """Whether a dotted key names a setting of the engine that a resume may change."""
    parents, _, name = key.rpartition(".")
    return parents.rpartition(".")[2] == "engine" and name in RESUMABLE_WITH_ANY
