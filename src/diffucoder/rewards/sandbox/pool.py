"""The sandbox as others use it: programs in, verdicts out, in order."""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from diffucoder.errors import BadParameters, SandboxUnavailable
from diffucoder.rewards.sandbox.inside import lockdown, wire
from diffucoder.rewards.sandbox.records import Program, Verdict
from diffucoder.rewards.sandbox.worker import Worker

# Strongest first. `unsafe` contains nothing and is never chosen by itself.
TIERS = ("landlock+seccomp", "landlock", "unsafe")
_IN_FLIGHT_PER_WORKER = 4

Reply = SimpleQueue[tuple[int, Verdict | BaseException]]
Job = tuple[int, Program, Reply]


class Sandbox:
    """Runs programs against tests, each program in a locked-down process of its own.

    workers: judges that work side by side; default: one for each available processor.
    tier: `auto` takes the strongest this kernel offers; or one of `TIERS`. `unsafe` runs
        candidates with no containment other than a process and its limits.
    memory_mb: address space of a candidate, in MiB.
    cpu_s: processor seconds of a candidate's process, rounded up to whole ones.
    wall_s: wall clock seconds for loading the code, and for each test.
    max_timeouts: after this many of a program's tests timed out, the rest count as timed out;
        None runs them all.

    Any number of threads may call `run` and `stream` at once.
    Raises BadParameters for a limit that is not positive, SandboxUnavailable on entry when this
    machine cannot contain a candidate at the tier asked for.
    """

    def __init__(
        self,
        workers: int | None = None,
        tier: str = "auto",
        memory_mb: int = 512,
        cpu_s: float = 5.0,
        wall_s: float = 15.0,
        max_timeouts: int | None = None,
    ) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        limits = {
            "workers": self.workers,
            "memory_mb": memory_mb,
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "max_timeouts": 1 if max_timeouts is None else max_timeouts,
        }
        for name, value in limits.items():
            if value <= 0:
                raise BadParameters(f"Sandbox({name}={value}): it must be positive")
        self.tier = _choose(tier)
        self._options = {
            "tier": self.tier, "memory_mb": memory_mb, "cpu_s": cpu_s, "wall_s": wall_s
        }  # fmt: skip
        self._max_timeouts = max_timeouts
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._live: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        started: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(started,), name="sandbox", daemon=True)
            for _ in range(self.workers)
        ]
        for thread in self._threads:
            thread.start()
        failures = [error for _ in self._threads if (error := started.get())]
        if failures:
            self.close()
            raise failures[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, programs: Iterable[Program]) -> list[Verdict]:
        """One verdict for each program, in order."""
        return list(self.stream(programs))

    def stream(self, programs: Iterable[Program]) -> Iterator[Verdict]:
        """Verdicts in order, each as soon as it and all before it are there.

        Takes programs from the iterable only as fast as the workers do.
        """
        replies: Reply = SimpleQueue()
        finished: dict[int, Verdict] = {}
        sent = 0
        source = iter(programs)
        waiting: deque[int] = deque()
        while True:
            while len(waiting) < _IN_FLIGHT_PER_WORKER * self.workers:
                program = next(source, None)
                if program is None:
                    break
                self._submit((sent, program, replies))
                waiting.append(sent)
                sent += 1
            if not waiting:
                return
            while waiting[0] not in finished:
                index, answer = replies.get()
                if isinstance(answer, BaseException):
                    raise answer
                finished[index] = answer
            yield finished.pop(waiting.popleft())

    def close(self) -> None:
        """End all workers and what they run. May be called twice and from any thread."""
        with self._lock:
            self._closed = True
            for worker in self._live:
                worker.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._closed or not self._threads:
                raise SandboxUnavailable("the sandbox is not open: use it inside a with block")
            self._jobs.put(job)

    def _serve(self, started: SimpleQueue[BaseException | None]) -> None:
        """One thread: a worker, and the programs it is given."""
        try:
            worker = self._start()
        except BaseException as error:
            started.put(error)
            return
        started.put(None)
        while (job := self._jobs.get()) is not None:
            index, program, replies = job
            try:
                worker, verdict = self._judge(worker, program)
                replies.put((index, verdict))
            except BaseException as error:
                replies.put((index, error))
        self._stop(worker)

    def _judge(self, worker: Worker, program: Program) -> tuple[Worker, Verdict]:
        """The verdict, and the worker to use next: a judge that ended is replaced."""
        tests = program.tests if isinstance(program.tests, str) else list(program.tests)
        try:
            answer = worker.ask(
                {
                    "code": program.code,
                    "tests": tests,
                    "entry_point": program.entry_point,
                    "setup": program.setup,
                    "max_timeouts": self._max_timeouts,
                }
            )
            return worker, _verdict(answer)
        except wire.Closed:
            self._stop(worker)
            worker = self._start()
        if program.test_count == 1:
            return worker, Verdict("timeout", (False,), "JudgeKilled", None, 0.0)
        # A candidate's answer made the judge exceed its own limits: find out which test it was.
        verdicts: list[Verdict] = []
        patience = self._max_timeouts
        for test in program.tests:
            late = sum(verdict.status == "timeout" for verdict in verdicts)
            if patience is not None and late >= patience:
                verdicts.append(Verdict("timeout", (False,), None, None, 0.0))
                continue
            worker, verdict = self._judge(worker, replace(program, tests=[test]))
            verdicts.append(verdict)
        return worker, _merge(verdicts)

    def _start(self) -> Worker:
        worker = Worker(self._options)
        with self._lock:
            self._live.add(worker)
            closed = self._closed
        if closed:
            self._stop(worker)
            raise SandboxUnavailable("the sandbox was closed while it worked")
        return worker

    def _stop(self, worker: Worker) -> None:
        with self._lock:
            self._live.discard(worker)
        worker.end()


def _choose(tier: str) -> str:
    if tier not in ("auto", *TIERS):
        raise BadParameters(f"unknown sandbox tier {tier!r}: choose auto or one of {TIERS}")
    if tier == "unsafe":
        return tier
    landlock, seccomp = lockdown.landlock_version() > 0, lockdown.seccomp_works()
    offered = [name for name in TIERS[:2] if landlock and (seccomp or name == "landlock")]
    if tier == "auto" and offered:
        return offered[0]
    if tier in offered:
        return tier
    raise SandboxUnavailable(
        f"this machine cannot contain untrusted code (tier {tier!r}; Landlock: {landlock}, "
        f"seccomp: {seccomp}): use Linux 5.13 or later with Landlock enabled, or accept the risk "
        "with tier='unsafe'"
    )


def _verdict(answer: dict[str, Any]) -> Verdict:
    outcomes = answer["outcomes"]
    decisive = next((o for o in outcomes if o[0] != "passed"), ("passed", None, None))
    passed = tuple(o[0] == "passed" for o in outcomes)
    return Verdict(decisive[0], passed, decisive[1], decisive[2], answer["seconds"])


def _merge(verdicts: list[Verdict]) -> Verdict:
    decisive = next((v for v in verdicts if v.status != "passed"), verdicts[0])
    return Verdict(
        decisive.status,
        tuple(passed for v in verdicts for passed in v.passed),
        decisive.error_type,
        decisive.line,
        sum(v.seconds for v in verdicts),
    )
