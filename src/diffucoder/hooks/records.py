"""How each node's outputs were made: one JSON file per node, beside the reports."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffucoder.hooks.fingerprint import Fingerprint
from diffucoder.io.atomic import atomic_file


@dataclass(frozen=True)
class Record:
    """One node's last whole result.

    Attributes:
        node: Name of the node.
        env: Configuration environment of the run that made it.
        finished: When it was saved, as ISO 8601 in UTC.
        fingerprint: What the result depended on.
        outputs: For each data set it saved, `signature` and `digest` right afterwards.
    """

    node: str
    env: str
    finished: str
    fingerprint: Fingerprint
    outputs: dict[str, dict[str, str]]


def now() -> str:
    """The present time as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read(folder: Path, node: str) -> Record | None:
    """The record of `node`, or None if there is none that can be read."""
    try:
        fields = json.loads((folder / f"{node}.json").read_text(encoding="utf-8"))
        return Record(**fields | {"fingerprint": Fingerprint(**fields["fingerprint"])})
    except (OSError, ValueError, TypeError, KeyError):
        # Without a record that can be read the node runs again.
        return None


def write(folder: Path, record: Record) -> None:
    """Keep `record`, in place of an earlier one of the same node."""
    write_json(folder / f"{record.node}.json", asdict(record))


def drop(folder: Path, node: str) -> None:
    """Forget how the outputs of `node` were made, because they are about to change."""
    (folder / f"{node}.json").unlink(missing_ok=True)


def write_json(path: Path, tree: Any) -> None:
    """Replace the file at `path` at once, so that no reader sees half of it."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(tree, indent=2, sort_keys=True) + "\n", encoding="utf-8")
