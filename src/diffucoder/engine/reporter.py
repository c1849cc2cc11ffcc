"""Metrics of a stage while it runs, and how its node reads them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffucoder.io.atomic import atomic_file
from diffucoder.tracking import RunLogger

if TYPE_CHECKING:
    import pandas as pd

METRICS_FILE = "metrics.jsonl"


class Reporter:
    """Takes the metrics of a stage: to a JSON line per step, and to the MLflow run of the stage.

    Only rank 0 writes; on other ranks `log` does nothing.
    """

    def __init__(self, work: Path, rank: int) -> None:
        self.path = work / METRICS_FILE
        self._file = None
        self._run = None
        if rank == 0:
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
            self._run = RunLogger(os.environ)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record numbers of a finished step, counted from 1.

        Args:
            step: number of the step, from 1.
            metrics: numbers by name.
        """
        if self._file is not None and self._run is not None:
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
            self._run.log_metrics(step, metrics)

    def tag(self, name: str, value: str) -> None:
        """Record a fact about the stage as a whole.

        Args:
            name: name of the tag.
            value: its value.
        """
        if self._run is not None:
            self._run.set_tag(name, value)

    def rewind(self, step: int | None) -> None:
        """Forget what was recorded after `step`, or all: it is about to be done again."""
        if self._file is None:
            return
        # A stage may record what it begins with as step 0, so None is less than that.
        last = -1 if step is None else step
        kept = [record for record in read_metrics(self.path) if record["step"] <= last]
        self._file.close()
        # A kill in the middle must not cost the records of the steps before.
        with atomic_file(self.path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), "utf-8")
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """End the records; nothing may be logged after it."""
        if self._file is not None:
            self._file.close()
        if self._run is not None:
            self._run.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records of a metrics file: dicts of `step` and the numbers of that step.

    A last line that a killed writer left unfinished is no record.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def metrics_table(work: Path) -> "pd.DataFrame":
    """What was logged in the folder `work` as a table: step (int), name (str), value (float)."""
    import pandas as pd

    rows = [
        (record["step"], name, float(value))
        for record in read_metrics(work / METRICS_FILE)
        for name, value in record.items()
        if name != "step"
    ]
    return pd.DataFrame(rows, columns=["step", "name", "value"])
