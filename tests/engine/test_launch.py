"""Real ranks: they start, stop when asked, and never outlive the node."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_stage

from diffucoder.config.training import TrainingParams
from diffucoder.engine import checkpoints
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.launch import JOB_FILE, LOG_FILE, command
from diffucoder.engine.reporter import read_metrics
from diffucoder.errors import BadParameters, MissingInput, TrainingFailed

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
    assert checkpoints.latest(stopped.work).step == 3
    steps = [record["step"] for record in read_metrics(stopped.work / "metrics.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]

    whole = job(params, "whole")
    tiny_stage.work(whole, context_of(whole))
    weights = [(each.output / "model.safetensors").read_bytes() for each in (stopped, whole)]
    assert weights[0] == weights[1]


@pytest.fixture
def two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Engine parameters of two ranks on this machine: `two_ranks("hostfile")`."""
    # DeepSpeed asks its first host for a name and an address over ssh, which needs a server.
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nwhile [ "$1" != localhost ]; do shift; done\nshift\nexec "$@"\n')
    # Stands in for Slurm: two tasks, each told its place.
    srun = tmp_path / "srun"
    srun.write_text(
        "#!/bin/sh\n"
        '[ "$1 $2" = "--kill-on-bad-exit=1 --ntasks-per-node=2" ] || exit 3\n'
        "shift 3\n"
        "export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=localhost\n"
        'for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & done\n'
        "wait\n"
    )
    for program in (ssh, srun):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")

    def of(launcher: str) -> dict[str, Any]:
        hostfile = str(hosts) if launcher == "hostfile" else None
        return {"nproc_per_node": 2, "launcher": launcher, "hostfile": hostfile}

    return of


NODE = """
import sys
from pathlib import Path
from diffucoder.config.engine import EngineParams
from diffucoder.engine import job, launch
todo = job.Job.load(Path(sys.argv[1]))
engine = EngineParams.model_validate(todo.parameters["training"]["engine"])
launch.run(todo, sys.argv[2], engine, {})
"""


def start_node(todo: Job, worker: str) -> psutil.Popen:
    """A process that launches ranks as a node does."""
    todo.work.mkdir(parents=True, exist_ok=True)
    todo.save(todo.work.parent / JOB_FILE)
    return psutil.Popen(
        [sys.executable, "-c", NODE, str(todo.work.parent / JOB_FILE), worker],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "hostfile"])
def test_ranks_do_not_outlive_a_killed_node(
    launcher: str,
    two_ranks: Callable[[str], dict[str, Any]],
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
) -> None:
    waiting = job(training(engine=two_ranks(launcher)))
    node = start_node(waiting, "waits")
    wait_for(lambda: all((waiting.work / f"ready-{rank}").exists() for rank in (0, 1)))
    family = node.children(recursive=True)
    pids = {int((waiting.work / f"pid-{rank}").read_text()) for rank in (0, 1)}
    assert pids <= {process.pid for process in family}
    node.kill()
    node.communicate()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


@pytest.mark.slow
def test_two_ranks_cut_in_every_way_end_as_uninterrupted_ones(
    two_ranks: Callable[[str], dict[str, Any]],
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    ranks: Any,
) -> None:
    engine = {"save_every_s": 1e-9, "zero_stage": 1, "micro_batch": 2, **two_ranks("local")}
    params = training(steps=100, engine=engine)
    whole = job(params, "whole")
    assert ranks.wait(*ranks.start(whole, "tiny_stage", count=2)) == [0, 0]

    moments, cut = random.Random(5), job(params, "cut")

    def cut_by(action: Callable[[psutil.Popen], None], seconds: float = 10) -> tuple[int, str]:
        """Run until a random moment, then act; returns the node's exit code and its message."""
        before = newest_save()
        node = start_node(cut, "tiny_stage")
        wait_for(lambda: newest_save() > before)
        time.sleep(moments.uniform(0.0, 0.3))
        workers = ranks_of(node)
        action(node)
        assert not psutil.wait_procs(workers.values(), timeout=seconds)[1]
        message = node.communicate()[1]
        return node.returncode, message

    def newest_save() -> str:
        return max((path.name for path in (cut.work / "saves").glob("step-*")), default="")

    def ranks_of(node: psutil.Popen) -> dict[str, psutil.Process]:
        found = {p.environ().get("RANK"): p for p in node.children(recursive=True)}
        return {rank: found[rank] for rank in ("0", "1")}

    code, message = cut_by(lambda node: ranks_of(node)["1"].kill())
    assert code == 1
    assert "rank 1 ended by signal SIGKILL, so all were ended" in message
    assert cut_by(psutil.Popen.kill)[0] == -signal.SIGKILL
    code, message = cut_by(psutil.Popen.terminate, PATIENCE)
    assert "KeyboardInterrupt: tiny: stopped by SIGTERM" in message
    code, message = cut_by(lambda node: node.send_signal(signal.SIGINT), PATIENCE)
    assert "KeyboardInterrupt: tiny: stopped by SIGINT" in message
    assert not (cut.output / "COMPLETE").exists()
    node = start_node(cut, "tiny_stage")
    assert (node.communicate(), node.returncode)[1] == 0
    weights = [(each.output / "model.safetensors").read_bytes() for each in (cut, whole)]
    assert weights[0] == weights[1]
    assert [r["step"] for r in read_metrics(cut.work / "metrics.jsonl")] == [*range(1, 101)]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "hostfile"])
def test_the_death_of_one_rank_ends_the_others(
    launcher: str,
    two_ranks: Callable[[str], dict[str, Any]],
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    params = training(engine=two_ranks(launcher))
    with pytest.raises(TrainingFailed, match="no save was made yet") as caught:
        run_job(job(params, fault="killed"), "fails")
    message = str(caught.value)
    assert "last words of rank 1" in message
    if launcher == "local":
        assert message.splitlines()[-1] == "rank 1 ended by signal SIGKILL, so all were ended"
    died = next(r.created for r in caplog.records if "last words" in r.getMessage())
    assert caplog.records[-1].created - died < 10


@pytest.mark.slow
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
@pytest.mark.parametrize("launcher", ["hostfile", "slurm"])
def test_ranks_of_every_launcher_work_together(
    launcher: str,
    two_ranks: Callable[[str], dict[str, Any]],
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
) -> None:
    adding = job(training(engine=two_ranks(launcher)))
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


def test_slurm_needs_an_allocation(
    training: Callable[..., TrainingParams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(MissingInput, match=r"there is none here; run under sbatch or salloc"):
        command(training(engine={"launcher": "slurm"}).engine, [])


def test_a_copy_of_a_node_does_not_launch(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    copied = job(training())
    expected = r"rank 3 of 8 copies .*`python -m diffucoder.engine.worker adds \S*job.json`"
    with pytest.raises(BadParameters, match=expected):
        run_job(copied, "adds")
    assert not copied.work.exists()


def test_one_rank_needs_no_launcher(training: Callable[..., TrainingParams]) -> None:
    expected = [sys.executable, "-m", "diffucoder.engine.worker", "module", "job.json"]
    assert command(training().engine, ["module", "job.json"]) == expected
