"""MLflow runs: one child per training stage beneath the run of `kedro run`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from diffucoder.tracking.flatten import batches, flatten, text_of

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"


@contextmanager
def child_run(stage: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Open a run named `stage` beneath the active one for as long as the block lasts.

    Args:
        stage: Name of the run.
        parameters: Nested plain values (`model_dump(mode="json")`); logged flattened.

    Yields:
        Environment variables for the processes that do the work: `RunLogger` in them logs to
        this run. Empty where no run is active (tracking is off, or the node was called
        outside of `kedro run`): then nothing is logged.

    The run ends as FINISHED, as FAILED when the block raises, and as KILLED when it is
    stopped from outside.
    """
    import mlflow

    parent = mlflow.active_run()
    if parent is None:
        yield {}
        return
    client = mlflow.MlflowClient()
    run_id = _create(client, parent.info, stage, parameters)
    status = KILLED
    try:
        yield {
            "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
            "MLFLOW_EXPERIMENT_ID": parent.info.experiment_id,
            "MLFLOW_RUN_ID": run_id,
        }
        status = FINISHED
    except Exception:
        status = FAILED
        raise
    finally:
        client.set_terminated(run_id, status=status)


def _create(client: Any, parent: Any, stage: str, parameters: Mapping[str, Any]) -> str:
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    run = client.create_run(
        parent.experiment_id, tags={MLFLOW_PARENT_RUN_ID: parent.run_id}, run_name=stage
    )
    log_parameters(client, run.info.run_id, parameters)
    return run.info.run_id


def log_parameters(client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Log nested parameters flattened; one that is too long for MLflow is cut.

    Args:
        client: An `MlflowClient`.
        run_id: The run.
        parameters: Nested plain values.
    """
    from mlflow.entities import Param

    values = [Param(name, text_of(value)) for name, value in flatten(parameters).items()]
    for batch in batches(values):
        client.log_batch(run_id, params=batch)


def tag_active_run(name: str, value: str) -> None:
    """Tag the run of `kedro run`; does nothing where no run is active."""
    import mlflow

    if mlflow.active_run() is not None:
        mlflow.set_tag(name, value)


def end_active_runs(status: str) -> None:
    """Close every run that is still open in this process as `status`."""
    import mlflow

    while mlflow.active_run():
        mlflow.end_run(status)
