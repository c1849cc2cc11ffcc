"""Child runs beneath the run of `kedro run`, in a real store."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from diffucoder.tracking import RunLogger, child_run, tag_active_run
from diffucoder.tracking.flatten import LONGEST_VALUE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def parent(store: str, tmp_path: Path) -> Iterator[mlflow.ActiveRun]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("children")
    with mlflow.start_run() as run:
        yield run
    mlflow.set_tracking_uri(before)


def test_child_has_parent_parameters_and_live_metrics(parent: mlflow.ActiveRun, store: str) -> None:
    parameters = {"training": {"steps": 3, "rates": [1, 2]}, "note": "x" * 9000}
    with child_run("grpo", parameters) as environment:
        assert environment["MLFLOW_TRACKING_URI"] == store
        with RunLogger(environment) as logger:
            logger.set_tag("sandbox_tier", "landlock+seccomp")
            logger.log_metrics(1, {"loss/total": 2.0, "reward": 0.5})
            live = mlflow.get_run(environment["MLFLOW_RUN_ID"])
            assert live.info.status == "RUNNING"
            assert live.data.metrics == {"loss/total": 2.0, "reward": 0.5}
            logger.log_metrics(2, {"loss/total": float("nan")})
            logger.log_metrics(3, {"loss/total": 1.0})
    run = mlflow.get_run(environment["MLFLOW_RUN_ID"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "grpo"
    assert run.data.tags["sandbox_tier"] == "landlock+seccomp"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params["training.steps"] == "3"
    assert run.data.params["training.rates"] == "[1, 2]"
    assert len(run.data.params["note"]) == LONGEST_VALUE
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss/total")
    assert [point.step for point in history] == [1, 2, 3]


def test_more_parameters_than_one_call_takes(parent: mlflow.ActiveRun) -> None:
    with child_run("grpo", {f"p{i}": i for i in range(250)}) as environment:
        pass
    assert len(mlflow.get_run(environment["MLFLOW_RUN_ID"]).data.params) == 250


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_child_that_did_not_finish_is_marked(
    parent: mlflow.ActiveRun, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), child_run("grpo", {}) as environment:
        raise error
    assert mlflow.get_run(environment["MLFLOW_RUN_ID"]).info.status == status


def test_nothing_is_logged_without_a_run() -> None:
    with child_run("grpo", {"a": 1}) as environment, RunLogger(environment) as logger:
        assert environment == {}
        logger.log_metrics(1, {"loss": 1.0})
        logger.set_tag("sandbox_tier", "unsafe")
    tag_active_run("sandbox_tier", "unsafe")


def test_the_run_of_all_stages_is_tagged(parent: mlflow.ActiveRun) -> None:
    tag_active_run("sandbox_tier", "landlock+seccomp")
    run = mlflow.get_run(parent.info.run_id)
    assert run.data.tags["sandbox_tier"] == "landlock+seccomp"


def test_store_that_refuses_costs_one_warning(
    parent: mlflow.ActiveRun, caplog: pytest.LogCaptureFixture, store: str
) -> None:
    logger = RunLogger({"MLFLOW_TRACKING_URI": store, "MLFLOW_RUN_ID": "0" * 32})
    logger.log_metrics(1, {"loss": 1.0})
    logger.log_metrics(2, {"loss": 1.0})
    logger.close()
    warnings = [r for r in caplog.records if r.name == "diffucoder.tracking.logger"]
    assert len(warnings) == 1
    assert "this run's curves end here" in warnings[0].getMessage()
