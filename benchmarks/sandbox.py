"""Programs a second in the sandbox, side by side with two ways to run them without one.

    .venv/bin/python benchmarks/sandbox.py

The programs are HumanEval's references with their tests, or generated tasks where that file is not
there: first one of them again and again, whose own work is a tenth of a millisecond, so that what
the methods cost is seen; then all, of which four compute longer than any method takes. Goals are
for the first. Each round runs all methods one after the other, so that whatever else the machine
does falls on all of them; a method's figure is its median over the rounds.

fresh   a new `python -I -S` for each program and its tests, in one process
fork    a fork of a process that is there, with limits and without the dangerous functions, as
        common harnesses do it: code and tests in one process, which says how it went
sandbox the default tier of this machine

Then one worker runs many programs in a row, and its memory, descriptors and processes are counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffucoder.sandbox import Program

ROOT = Path(__file__).resolve().parents[1]
SUITE = "HumanEval.jsonl.gz"
# A harness's process has these loaded already, as the sandbox has.
PRELOADED = (
    "import collections, copy, functools, heapq, itertools, math, random, re, string, typing"
)
DANGEROUS = ("kill", "system", "fork", "remove", "rename", "rmdir", "unlink", "chdir", "chmod")
GOALS = {"fresh": 3.0, "fork": 0.5}


def main() -> None:
    """Measure, print tables, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=164, help="programs a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--in-a-row", type=int, default=10_000, help="programs of the long run")
    parser.add_argument("--tier", default="auto")
    options = parser.parse_args()
    programs = (real_programs() or generated_programs())[: options.programs]
    print(f"{len(programs)} programs, {options.rounds} rounds, {os.cpu_count()} processors")
    rates = table("one program", programs[:1] * len(programs), options)
    table("all programs", programs, options)
    if options.in_a_row:
        print(f"\n{long_run(programs, options.in_a_row, options.tier)}")
    missed = [
        f"{workers} workers: {rate['sandbox'] / rate[method]:.2f} of {method}, wanted {goal}"
        for workers, rate in zip(options.workers, rates, strict=True)
        for method, goal in GOALS.items()
        if rate["sandbox"] < goal * rate[method]
    ]
    sys.exit("\n".join(missed))


def table(
    title: str, programs: "list[Program]", options: argparse.Namespace
) -> list[dict[str, float]]:
    """Print a table of rates; returns its rows, one for each number of workers."""
    print(f"\n| {title}: workers | fresh /s | fork /s | sandbox /s | to fresh | to fork | MiB |")
    print("|---" * 7 + "|")
    return [measure(programs, workers, options) for workers in options.workers]


def measure(
    programs: "list[Program]", workers: int, options: argparse.Namespace
) -> dict[str, float]:
    """Programs a second of each method; prints a row of the table."""
    from diffucoder.sandbox import Sandbox

    scripts = [script(program) for program in programs]
    seconds: dict[str, list[float]] = {"fresh": [], "fork": [], "sandbox": []}
    with Sandbox(workers=workers, tier=options.tier) as sandbox:
        sandbox.run(programs)
        memory = memory_mib(os.getpid(), own=False) / workers
        for _ in range(options.rounds):
            seconds["fresh"].append(timed(lambda: run_fresh(scripts, workers)))
            seconds["fork"].append(run_forks(scripts, workers))
            seconds["sandbox"].append(timed(lambda: run_sandbox(sandbox, programs)))
    rate = {method: len(programs) / statistics.median(took) for method, took in seconds.items()}
    to_fresh, to_fork = rate["sandbox"] / rate["fresh"], rate["sandbox"] / rate["fork"]
    cells = [f"{workers}", *(f"{value:.0f}" for value in rate.values())]
    print(f"| {' | '.join(cells)} | {to_fresh:.1f} | {to_fork:.2f} | {memory:.0f} |", flush=True)
    return rate


def real_programs() -> "list[Program]":
    """HumanEval's references, where the file is."""
    from diffucoder.evaluation import suites

    folders = [
        os.environ.get("DIFFUCODER_BENCHMARKS"),
        ROOT / "data" / "01_raw" / "benchmarks",
        ROOT.parent / "shared" / "data" / "benchmarks",
    ]
    for folder in folders:
        if folder and (Path(folder) / SUITE).exists():
            return [
                problem.program(problem.reference)
                for problem in suites.load("humaneval", Path(folder))
            ]
    return []


def generated_programs() -> "list[Program]":
    """References of the project's own tasks."""
    import yaml

    from diffucoder.config.problems import ProblemsParams
    from diffucoder.data.families import generate
    from diffucoder.sandbox import Program

    raw = yaml.safe_load((ROOT / "conf/base/parameters/problems.yml").read_text("utf-8"))
    return [
        Program(problem.reference, problem.tests, problem.entry_point)
        for problem in generate(ProblemsParams(**raw["problems"]), seed=0)
    ]


def script(program: "Program") -> str:
    """Code and tests in one source."""
    if isinstance(program.tests, str):
        return f"{program.code}\n\n{program.tests}\n\ncheck({program.entry_point})\n"
    return "\n\n".join([program.code, *program.tests])


def timed(run: Callable[[], None]) -> float:
    """Seconds that `run` takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def run_sandbox(sandbox: object, programs: "list[Program]") -> None:
    """Run all; each must pass."""
    verdicts = sandbox.run(programs)  # type: ignore[attr-defined]
    failed = [verdict for verdict in verdicts if verdict.status != "passed"]
    if failed:
        sys.exit(f"{len(failed)} references do not pass in the sandbox: {failed[0]}")


def run_fresh(scripts: list[str], workers: int) -> None:
    """A new interpreter for each."""

    def run(source: str) -> None:
        command = [sys.executable, "-I", "-S", "-c", source]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, scripts))


def run_forks(scripts: list[str], workers: int) -> float:
    """Seconds that harnesses of this file's `serve_forks` take, side by side."""
    harnesses = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, "--harness"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers)
    ]
    for harness in harnesses:
        harness.stdout.readline()
    began = time.perf_counter()
    for number, harness in enumerate(harnesses):
        harness.stdin.write(json.dumps(scripts[number::workers]))
        harness.stdin.close()
    passed = sum(int(harness.stdout.readline()) for harness in harnesses)
    took = time.perf_counter() - began
    for harness in harnesses:
        harness.wait()
    if passed != len(scripts):
        sys.exit(f"only {passed} of {len(scripts)} references pass in a fork")
    return took


def serve_forks() -> None:
    """Fork for each script on standard input; print how many passed."""
    exec(PRELOADED, {})
    print("ready", flush=True)
    print(sum(fork(source) for source in json.load(sys.stdin)), flush=True)


def fork(source: str) -> bool:
    """Whether a script passes in a fork that says so itself."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        guard()
        try:
            exec(source, {"__name__": "__tests__"})
            os.write(theirs, b"passed")
        finally:
            os._exit(0)
    os.close(theirs)
    said = os.read(ours, 16)
    os.close(ours)
    os.waitpid(pid, 0)
    return said == b"passed"


def guard() -> None:
    """What common harnesses take away: functions by name, and memory and time by limits."""
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
    signal.setitimer(signal.ITIMER_REAL, 15)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in DANGEROUS:
        setattr(os, name, None)


def long_run(programs: "list[Program]", count: int, tier: str) -> str:
    """Run `count` programs in a row; compare what the processes hold before and after."""
    from diffucoder.sandbox import Sandbox

    lines = ["| programs | MiB | descriptors | processes |", "|---|---|---|---|"]
    with Sandbox(workers=1, tier=tier) as sandbox:
        done = 0
        for part in (count // 10, count // 2 - count // 10, count - count // 2):
            run_sandbox(sandbox, [programs[(done + i) % len(programs)] for i in range(part)])
            done += part
            pids = [*descendants(os.getpid()), os.getpid()]
            descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
            memory = memory_mib(os.getpid(), own=True)
            lines.append(f"| {done} | {memory:.1f} | {descriptors} | {len(pids)} |")
    return "\n".join(lines)


def memory_mib(pid: int, own: bool) -> float:
    """Proportional share of memory of a process's descendants, and its own if asked for, MiB."""
    pids = descendants(pid) + ([pid] if own else [])
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    kib = [line.split()[1] for text in texts for line in text.splitlines() if line[:4] == "Pss:"]
    return sum(map(int, kib)) / 1024


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that they started."""
    text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    children = list(map(int, text.split()))
    return children + [far for child in children for far in descendants(child)]


if __name__ == "__main__":
    serve_forks() if sys.argv[1:] == ["--harness"] else main()
