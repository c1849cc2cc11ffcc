"""However a run ends, MLflow says how."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

# A shell that starts tests in the background has them ignore SIGINT, and so their children.
PROGRAM = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

bootstrap_project(sys.argv[1])
stuck = {"second": {"factor": 0.0}}
with settings.SESSION_CLASS.create(sys.argv[1], runtime_params=stuck) as session:
    session.run()
"""


def the_run(project: Any) -> Run:
    (run,) = mlflow.search_runs(experiment_names=[project.package], output_format="list")
    return run


def test_finished_run(project: Any) -> None:
    project.run()
    run = the_run(project)
    assert run.info.status == "FINISHED"
    assert run.data.params["first.size"] == "2"
    assert run.data.params["second.factor"] == "2.0"
    assert run.data.params["seed"] == "3"
    assert run.data.tags["env"] == "local"
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"table", "scaled"}
    assert run.data.metrics["total"] == 12.0
    assert run.data.metrics["seconds.first"] >= 0
    names = [file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)]
    assert names == ["summary.json"]


def test_failed_run(project: Any) -> None:
    with pytest.raises(RuntimeError, match="negative"):
        project.run(params={"second": {"factor": -1.0}})
    assert the_run(project).info.status == "FAILED"
    assert mlflow.active_run() is None


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run(project: Any, tmp_path: Path, sent: signal.Signals) -> None:
    started = tmp_path / "started"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(project.root)],
        env=os.environ | {"STARTED": str(started)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(sent)
    assert process.wait(120) != 0
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    assert the_run(project).info.status == "KILLED"
