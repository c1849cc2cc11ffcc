"""Live metrics from the process that trains."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from diffucoder.tracking.flatten import batches

# At most one request per second: curves look live, and SQLite is not held all the time.
SECONDS_BETWEEN_WRITES = 1.0
# MLflow's limit on metrics in one call.
METRICS_PER_CALL = 1000

_log = logging.getLogger(__name__)


class RunLogger:
    """Writes metrics to the run that `child_run` named in the environment.

    Make one on rank 0 only. Without a run in `environment` nothing is written, so the caller
    need not ask. A tracking store that cannot be reached costs one warning, not the training.
    Use it as a context manager, or call `close`, so that the last metrics are written.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._run_id = environment.get("MLFLOW_RUN_ID")
        self._uri = environment.get("MLFLOW_TRACKING_URI")
        self._client: Any = None
        self._waiting: list[Any] = []
        self._written = float("-inf")

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics.

        Args:
            step: The step at which they were measured.
            metrics: Values by name; names with `/` become sections of the UI.
        """
        if self._run_id is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step) for name, value in metrics.items()]
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()

    def set_tag(self, name: str, value: str) -> None:
        """Tag the run as a whole."""
        if self._run_id is not None:
            self._try(lambda client: client.set_tag(self._run_id, name, value))

    def close(self) -> None:
        """Write the metrics that are not written yet."""
        if self._waiting:
            self._write()

    def __enter__(self) -> "RunLogger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        for batch in batches(self._waiting, METRICS_PER_CALL):
            self._try(lambda client, batch=batch: client.log_batch(self._run_id, metrics=batch))
        self._waiting.clear()
        self._written = time.monotonic()

    def _try(self, call: Callable[[Any], object]) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if self._run_id is None:
            return
        try:
            self._client = self._client or MlflowClient(self._uri)
            call(self._client)
        except MlflowException as error:
            _log.warning(
                "metrics cannot be written to %s, so this run's curves end here; training goes "
                "on and keeps them in its metrics table: %s",
                self._uri,
                error,
            )
            self._run_id = None
