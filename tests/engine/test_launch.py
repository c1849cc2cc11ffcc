"""Real ranks: they start, stop when asked, and never outlive the node."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import tiny_stage

from diffucoder.config.training import TrainingParams
from diffucoder.engine import saves
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.launch import JOB_FILE, LOG_FILE, command
from diffucoder.engine.reporter import read_metrics
from diffucoder.errors import MissingInput, TrainingFailed

PATIENCE = 60.0


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_stopped_job_goes_on_when_it_is_run_again(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    context_of: Callable[[Job], Context],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    params = training()
    stopped = job(params, fault={"kind": "wait", "step": 2, "seconds": 1.0})

    def press_ctrl_c() -> None:
        wait_for(lambda: len(read_metrics(stopped.work / "metrics.jsonl")) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    hand = threading.Thread(target=press_ctrl_c)
    hand.start()
    with pytest.raises(KeyboardInterrupt, match="tiny: stopped by SIGINT"):
        run_job(stopped)
    hand.join()
    assert "tiny: stopped and saved after step 3" in caplog.text
    assert not stopped.output.exists()

    run_job(stopped)
    assert "tiny: goes on from step 3" in caplog.text
    assert (stopped.output / "COMPLETE").is_file()
    assert saves.latest(stopped.work).step == 3
    steps = [record["step"] for record in read_metrics(stopped.work / "metrics.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]

    whole = job(params, "whole")
    tiny_stage.work(whole, context_of(whole))
    weights = [(each.output / "model.safetensors").read_bytes() for each in (stopped, whole)]
    assert weights[0] == weights[1]


def test_ranks_do_not_outlive_a_killed_node(
    training: Callable[..., TrainingParams], job: Callable[..., Job]
) -> None:
    waiting = job(training(engine={"ranks": 2}))
    waiting.work.mkdir(parents=True)
    waiting.save(waiting.work.parent / JOB_FILE)
    script = (
        "import sys; from pathlib import Path\n"
        "from diffucoder.config.training import EngineParams\n"
        "from diffucoder.engine import job, launch\n"
        "todo = job.Job.load(Path(sys.argv[1]))\n"
        "engine = EngineParams.model_validate(todo.parameters['training']['engine'])\n"
        "launch.run(todo, 'waits', engine, {})\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    node = subprocess.Popen(
        [sys.executable, "-c", script, str(waiting.work.parent / JOB_FILE)],
        env=os.environ | {"PYTHONPATH": paths},
    )
    wait_for(lambda: all((waiting.work / f"ready-{rank}").exists() for rank in (0, 1)))
    family = psutil.Process(node.pid).children(recursive=True)
    pids = {int((waiting.work / f"pid-{rank}").read_text()) for rank in (0, 1)}
    assert pids <= {process.pid for process in family}
    node.kill()
    node.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_the_death_of_one_rank_ends_the_others(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    params = training(engine={"ranks": 2})
    with pytest.raises(TrainingFailed, match="no save was made yet") as caught:
        run_job(job(params, fault="killed"), "fails")
    message = str(caught.value)
    assert "last words of rank 1" in message
    assert message.splitlines()[-1] == "rank 1 ended by signal SIGKILL, so all were ended"
    died = next(r.created for r in caplog.records if "last words" in r.getMessage())
    assert time.time() - died < 10


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("bad data", "rank 0: BadData: shard 3 is damaged"),
        ("defect", "rank 0: ZeroDivisionError: by nothing"),
    ],
)
def test_the_error_of_a_rank_reaches_the_node(
    fault: str,
    expected: str,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    failing = job(training(), fault=fault)
    with pytest.raises(TrainingFailed) as caught:
        run_job(failing, "fails")
    message = str(caught.value)
    assert message.startswith("tiny: training ended with exit code 1")
    assert message.splitlines()[-1] == expected
    assert ("Traceback" in message) == (fault == "defect")
    assert expected in (failing.work / LOG_FILE).read_text()
    assert all(record.markup is False for record in caplog.records if hasattr(record, "markup"))


@pytest.mark.slow
def test_ranks_from_a_hostfile_work_together(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # DeepSpeed asks its first host for a name and an address over ssh, which needs a server.
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nwhile [ "$1" != localhost ]; do shift; done\nshift\nexec "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    launcher = {"launcher": "hostfile", "hostfile": str(hosts)}
    adding = job(training(engine={"ranks": 2, **launcher}))
    run_job(adding, "adds")

    results = [json.loads((adding.work / f"result-{r}.json").read_text()) for r in (0, 1)]
    for rank, result in enumerate(results):
        assert result == {
            "sum": [2.0, 1.0],
            "gathered": [{"rank": 0}, {"rank": 1}],
            "from 0": "rank 0",
            "share": [4 * rank, 4 * rank + 4],
            "threads": 1,
        }


def test_a_missing_hostfile_is_named(training: Callable[..., TrainingParams]) -> None:
    engine = training(engine={"launcher": "hostfile", "hostfile": "/nowhere"}).engine
    with pytest.raises(MissingInput, match=r"engine.hostfile: /nowhere does not exist"):
        command(engine, [])


def test_one_rank_needs_no_launcher(training: Callable[..., TrainingParams]) -> None:
    expected = [sys.executable, "-m", "diffucoder.engine.worker", "module", "job.json"]
    assert command(training().engine, ["module", "job.json"]) == expected
