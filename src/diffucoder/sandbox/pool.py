"""The public interface: programs in, verdicts out, in order."""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self

from diffucoder.errors import BadParameters, SandboxUnavailable
from diffucoder.sandbox import tiers
from diffucoder.sandbox.inside import deadline, wire
from diffucoder.sandbox.inside import libraries as installed
from diffucoder.sandbox.records import Program, Status, Verdict
from diffucoder.sandbox.worker import Worker

_IN_FLIGHT_PER_WORKER = 4

Replies = SimpleQueue[tuple[int, Verdict | BaseException]]


class Submission(NamedTuple):
    """A program that waits for a worker.

    Attributes:
        position: Its place among the programs of one call, from 0.
        program: The program.
        executed_lines: Whether the verdict shall name the lines that ran.
        replies: Queue for its verdict, or for the error that prevented one.
    """

    position: int
    program: Program
    executed_lines: bool
    replies: Replies


class Sandbox:
    """Runs programs against tests, each program in a locked-down process of its own.

    Use it as a context manager. Any number of threads may call `run` and `stream` at once.

    Args:
        workers: Judges that work in parallel; default: one per available processor.
        tier: `auto` takes the strongest tier that works on this machine; or one of `TIERS`.
            `unsafe` runs candidates with no containment other than a process and its limits.
        memory_mb: Address space of a candidate beyond that of its interpreter, in MiB.
        cpu_s: Processor seconds of a candidate's process, rounded up to whole seconds.
        wall_s: Wall clock seconds for loading the code, and for each test.
        max_timeouts: After this number of a program's tests timed out, the rest count as timed
            out; None runs them all.
        libraries: Top-level packages that candidates and tests may import, if they are installed,
            besides the standard library; their files can be read.

    Attributes:
        workers: Number of judges.
        tier: The tier in use, one of `TIERS`.

    Raises:
        BadParameters: If a limit is not positive, or there is no such tier.
        SandboxUnavailable: If this machine cannot contain a candidate at the requested tier.
    """

    def __init__(
        self,
        workers: int | None = None,
        tier: str = "auto",
        memory_mb: int = 512,
        cpu_s: float = 5.0,
        wall_s: float = 15.0,
        max_timeouts: int | None = None,
        libraries: Sequence[str] = ("numpy",),
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
        self.tier = tiers.choose(tier)
        self._options = {
            "tier": self.tier,
            "memory_mb": memory_mb,
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "libraries": installed.locate(libraries),
        }
        self._max_timeouts = max_timeouts
        self._submissions: SimpleQueue[Submission | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._live: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def mechanisms(self) -> int:
        """Number of mechanisms that contain a candidate; 0 in the tier `unsafe`."""
        return 0 if self.tier == tiers.UNSAFE else len(self.tier.split("+"))

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

    def run(self, programs: Iterable[Program], executed_lines: bool = False) -> list[Verdict]:
        """Run programs and wait for all of them.

        Args:
            programs: Candidates with their tests.
            executed_lines: Whether verdicts shall name the lines that ran. Each program then
                runs a second time to be traced; the verdict is that of the first run.

        Returns:
            One verdict per program, in order.

        Raises:
            SandboxUnavailable: If the sandbox is not open, or was closed meanwhile.
        """
        return list(self.stream(programs, executed_lines))

    def stream(
        self, programs: Iterable[Program], executed_lines: bool = False
    ) -> Iterator[Verdict]:
        """Run programs and yield verdicts in order, each as soon as all before it are there.

        Args:
            programs: Candidates with their tests; read only as fast as the workers take them.
            executed_lines: As in `run`.

        Yields:
            One verdict per program, in order.

        Raises:
            SandboxUnavailable: If the sandbox is not open, or was closed meanwhile.
        """
        replies: Replies = SimpleQueue()
        finished: dict[int, Verdict] = {}
        sent = 0
        source = iter(programs)
        waiting: deque[int] = deque()
        while True:
            while len(waiting) < _IN_FLIGHT_PER_WORKER * self.workers:
                program = next(source, None)
                if program is None:
                    break
                self._submit(Submission(sent, program, executed_lines, replies))
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
        """End all workers and what they run. May be called twice, and from any thread."""
        with self._lock:
            self._closed = True
            for worker in self._live:
                worker.kill()
        for _ in self._threads:
            self._submissions.put(None)
        for thread in self._threads:
            thread.join()

    def _submit(self, submission: Submission) -> None:
        with self._lock:
            if self._closed or not self._threads:
                raise SandboxUnavailable("the sandbox is not open: use it inside a with block")
            self._submissions.put(submission)

    def _serve(self, started: SimpleQueue[BaseException | None]) -> None:
        """Run a worker and the programs that it takes from the queue; one thread does this."""
        try:
            worker = self._start()
        except BaseException as error:
            started.put(error)
            return
        started.put(None)
        while (submission := self._submissions.get()) is not None:
            position, program, executed_lines, replies = submission
            try:
                worker, verdict = self._judge(worker, program, executed_lines)
                replies.put((position, verdict))
            except BaseException as error:
                replies.put((position, error))
        self._stop(worker)

    def _judge(
        self, worker: Worker, program: Program, executed_lines: bool, retry: bool = True
    ) -> tuple[Worker, Verdict]:
        """Return the worker to use next, for a judge that ended is replaced, and the verdict."""
        tests = program.tests if isinstance(program.tests, str) else list(program.tests)
        try:
            answer = worker.ask(
                {
                    "code": program.code,
                    "tests": tests,
                    "entry_point": program.entry_point,
                    "setup": program.setup,
                    "max_timeouts": self._max_timeouts,
                    "lines": executed_lines,
                }
            )
            return worker, _verdict(answer)
        except wire.Closed:
            stalled = self._stop(worker) == -deadline.SIGNAL
            worker = self._start()
        if retry and not stalled:
            # Not ended by the clock that bounds its own work: perhaps something else killed it.
            return self._judge(worker, program, executed_lines, retry=False)
        if program.test_count == 1:
            status: Status = "timeout" if stalled else "crashed"
            return worker, Verdict(status, (False,), "JudgeKilled", None, 0.0)
        # A candidate's answer made the judge exceed its own limits: find the test that did it.
        verdicts: list[Verdict] = []
        patience = self._max_timeouts
        for test in program.tests:
            late = sum(verdict.status == "timeout" for verdict in verdicts)
            if patience is not None and late >= patience:
                verdicts.append(Verdict("timeout", (False,), None, None, 0.0))
                continue
            only = replace(program, tests=[test])
            worker, verdict = self._judge(worker, only, executed_lines, retry)
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

    def _stop(self, worker: Worker) -> int:
        with self._lock:
            self._live.discard(worker)
        return worker.end()


def _verdict(answer: dict[str, Any]) -> Verdict:
    outcomes = answer["outcomes"]
    decisive = next((o for o in outcomes if o[0] != "passed"), ("passed", None, None))
    passed = tuple(o[0] == "passed" for o in outcomes)
    lines = tuple(answer["lines"]) if "lines" in answer else None
    return Verdict(decisive[0], passed, decisive[1], decisive[2], answer["seconds"], lines)


def _merge(verdicts: list[Verdict]) -> Verdict:
    decisive = next((v for v in verdicts if v.status != "passed"), verdicts[0])
    traced = [v.executed_lines for v in verdicts if v.executed_lines is not None]
    return replace(
        decisive,
        passed=tuple(passed for v in verdicts for passed in v.passed),
        seconds=sum(v.seconds for v in verdicts),
        executed_lines=tuple(sorted(set().union(*traced))) if traced else None,
    )
