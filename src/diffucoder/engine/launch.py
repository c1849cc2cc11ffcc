"""Starting a stage's ranks from a node, and reporting how they ended.

The node's process stays a thin parent: it holds no model and no device. Ranks never outlive it.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from diffucoder.config.engine import EngineParams, RankParams
from diffucoder.engine import checkpoints
from diffucoder.engine.distributed_env import started_as_rank
from diffucoder.engine.job import Job
from diffucoder.errors import BadParameters, MissingInput, TrainingFailed
from diffucoder.io import atomic

JOB_FILE, LOG_FILE, STOP_FILE = "job.json", "worker.log", "STOP"
WORKER, LOCAL_RANKS = "diffucoder.engine.worker", "diffucoder.engine.local_ranks"
# sysexits.h's "try again": the rank was stopped by a signal of its own, after a save.
EXIT_INTERRUPTED = 75
LINES_IN_ERROR = 30
PR_SET_PDEATHSIG = 1

# What an outer launcher may have set for this process, and would be wrong for its ranks.
OUTER_LAUNCHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"} | {
    "MASTER_ADDR",
    "MASTER_PORT",
}

_log = logging.getLogger(__name__)


def run(job: Job, worker_module: str, engine: RankParams, environment: Mapping[str, str]) -> None:
    """Run `worker_module.work(job, context)` on every rank and wait for its end.

    Ctrl-C and SIGTERM let the ranks finish their step and save; a second one kills them.
    When it ends well the saves stay: `checkpoints.delete_all` them once `job.output` is in safety.

    Under torchrun or `srun` every copy of this process would start ranks of its own. There,
    start `python -m diffucoder.engine.worker MODULE JOB_FILE` instead: it joins the others.

    Args:
        job: written to `job.work` for the ranks; lines of the ranks go to the log and to
            `worker.log` there.
        worker_module: module with `work(job: Job, context: Context) -> None`.
        engine: launcher, number of ranks, threads; for a training also what saves may be resumed.
        environment: variables to add, such as the MLflow run of the stage.

    Raises:
        BadParameters: if saves of a changed job are there and `on_change` refuses them, or this
            process is one of several copies.
        MissingInput: if an input, the hostfile, or Slurm's allocation does not exist.
        TrainingFailed: if a rank fails; ends with the last lines of its output.
        KeyboardInterrupt: if this process was asked to stop.
    """
    arguments = [worker_module, str(job.work / JOB_FILE)]
    if copy := started_as_rank(os.environ):
        raise BadParameters(
            f"{job.stage}: this process is {copy} copies of one command, and each would start "
            "ranks of its own: start it once and set engine.launcher to slurm or hostfile, or "
            f"start `{' '.join(['python -m', WORKER, *arguments])}` in its place"
        )
    if isinstance(engine, EngineParams):
        checkpoints.check(job, engine.on_change)
    atomic.recover(job.output)
    job.work.mkdir(parents=True, exist_ok=True)
    (job.work / STOP_FILE).unlink(missing_ok=True)
    job.save(job.work / JOB_FILE)
    process = subprocess.Popen(
        command(engine, arguments),
        env=_variables(engine, environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A terminal's Ctrl-C must reach the ranks through us alone.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    with _forwarding_signals(process, job.work) as received:
        last_lines = _relay(process, job.work / LOG_FILE)
        code = process.wait()
    if received:
        raise KeyboardInterrupt(f"{job.stage}: stopped by {signal.Signals(received[0]).name}")
    if code:
        raise TrainingFailed(_failure(job, code, last_lines))


def command(engine: RankParams, arguments: list[str]) -> list[str]:
    """The command line that starts every rank with `arguments`.

    Args:
        engine: how many ranks, and how they are started.
        arguments: arguments of each rank.

    Raises:
        MissingInput: if the hostfile does not exist, or there is no allocation of Slurm.
    """
    if engine.launcher == "slurm":
        if "SLURM_JOB_ID" not in os.environ:
            raise MissingInput(
                "engine.launcher: slurm starts ranks in an allocation, and there is none here; "
                "run under sbatch or salloc, or set it to local"
            )
        # Without the first, srun waits for the others when a rank has died.
        step = ["srun", "--kill-on-bad-exit=1", f"--ntasks-per-node={engine.nproc_per_node}"]
        return [*step, "--unbuffered", sys.executable, "-m", WORKER, *arguments]
    if engine.hostfile is not None:
        if not Path(engine.hostfile).is_file():
            raise MissingInput(
                f"engine.hostfile: {engine.hostfile} does not exist; write one line "
                "`name slots=N` a machine, or set it to null to use this machine"
            )
        launcher = ["-m", "deepspeed.launcher.runner", "--hostfile", engine.hostfile]
        port = ["--master_port", str(_free_port())]
        # DeepSpeed would put an argument of its own before ours.
        ours = ["--no_local_rank", "--module", WORKER, *arguments]
        return [sys.executable, *launcher, *port, *ours]
    if engine.nproc_per_node == 1:
        return [sys.executable, "-m", WORKER, *arguments]
    ranks = ["--standalone", f"--nproc-per-node={engine.nproc_per_node}"]
    return [sys.executable, "-m", LOCAL_RANKS, *ranks, "-m", WORKER, *arguments]


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _variables(engine: RankParams, environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key not in OUTER_LAUNCHER}
    return inherited | {
        "OMP_NUM_THREADS": str(engine.threads),
        # Threads that spin while they wait make each other many times slower on a busy machine.
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
        # A fast tokenizer warns when a process that used it forks.
        "TOKENIZERS_PARALLELISM": "false",
        # Bars over the loading of weights: noise where lines are relayed.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **environment,
    }


@contextmanager
def _forwarding_signals(process: subprocess.Popen[str], work: Path) -> Iterator[list[int]]:
    """Ask the ranks to stop when this process is asked to; yields the signals it got.

    The handler only takes note: an exception from it could be swallowed by whoever runs.
    Outside of the main thread Python allows no handlers, and the runner deals with signals.
    """
    received: list[int] = []

    def ask_to_stop(number: int, _frame: object) -> None:
        received.append(number)
        (work / STOP_FILE).touch()
        if len(received) > 1:
            os.killpg(process.pid, signal.SIGKILL)

    caught = (signal.SIGINT, signal.SIGTERM)
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, ask_to_stop) for number in caught if main}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (work / STOP_FILE).unlink(missing_ok=True)


def _relay(process: subprocess.Popen[str], log_file: Path) -> list[str]:
    """Pass the ranks' lines on until they end; returns the last ones."""
    last: deque[str] = deque(maxlen=LINES_IN_ERROR)
    with log_file.open("a", encoding="utf-8") as log:
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            text = line.rstrip()
            last.append(text)
            # Rich would take `[words]` for markup and swallow them.
            _log.info(text, extra={"markup": False})
    return list(last)


def _failure(job: Job, code: int, last_lines: list[str]) -> str:
    if code == EXIT_INTERRUPTED:
        return f"{job.stage}: the worker was stopped and has saved; run again to go on"
    ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    kept = checkpoints.latest(job.work)
    resume = f"run again to go on from step {kept.step}" if kept else "no save was made yet"
    lines = "\n".join(last_lines)
    return (
        f"{job.stage}: training ended {ended}; {resume}. All output: {job.work / LOG_FILE}\n{lines}"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
