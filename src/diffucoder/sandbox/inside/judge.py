"""Runs the tests of one program after the other and says what came of each."""

import gc
import math
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from . import libraries, lockdown, namespaces
from .deadline import Deadline
from .remote import CandidateError
from .session import NotAProgram, Session
from .suite import Suite, prepare
from .wire import Closed, Malformed, receive, send
from .zygote import FETCH, REAP, REPORT, WARM

# No site-packages, nothing from the user's environment. Not -I: it would ignore the hash seed,
# and the order of a set would differ from run to run.
FLAGS = ("-s", "-S", "-P", "-B", "-W", "ignore", "-X", "utf8")
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")  # without which some interpreters do not start
BOOT = "import sys; sys.path.insert(0, {0!r}); from inside import {1} as m; del sys.path[0]; m.{2}"

# Bounds what a guest's answers may become once decoded.
_OWN_MEMORY = 2**30
# A test's clock rings again this often if a bare `except` swallowed it.
_RING_AGAIN_S = 1.0
# A test may stay in one call into C for so long beyond its wall limit, then the judge is killed.
_GRACE_S = 2.0

Outcome = tuple[str, str | None, int | None]  # status, error type, line in the candidate's code
_PASSED: Outcome = ("passed", None, None)


def environment() -> dict[str, str]:
    """What a judge and its zygote see of the user's environment; guests see nothing of it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # A heap for each thread would count against a candidate's address space.
    return {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"} | libraries.ENVIRONMENT | kept


class TimeUp(BaseException):
    """A test ran into its wall clock limit. No test can catch it by `except Exception`."""


class Judge:
    """One zygote and the tests that run against its guests.

    options: tier, memory_mb, cpu_s (for a guest), wall_s (for loading and for each test),
        libraries (file of each that guests and tests may import).
    """

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self.cpu_s, self.wall_s = math.ceil(options["cpu_s"]), float(options["wall_s"])
        self.control, theirs = socket.socketpair()
        shared = ("tier", "memory_mb", "libraries")
        for_zygote = {name: options[name] for name in shared} | {"cpu_s": self.cpu_s}
        call = f"main({theirs.fileno()}, {os.getpid()}, {for_zygote!r})"
        self.zygote = subprocess.Popen(
            [sys.executable, *FLAGS, "-c", BOOT.format(folder, "zygote", call)],
            pass_fds=[theirs.fileno()],
            env=environment(),
        )
        theirs.close()
        self.cold = set(options["libraries"])
        libraries.make_importable(options["libraries"])
        self.session: Session | None = None
        self.expired = False
        self.deadline = Deadline()
        signal.signal(signal.SIGALRM, self._ring)

    def started(self) -> dict[str, Any]:
        """What the zygote says of its start: its tier, or why it cannot have it."""
        fd = self.control.fileno()
        answer = receive(fd)
        try:
            if answer == {"needs": "maps"}:
                send(fd, namespaces.write_maps(self.zygote.pid))
                answer = receive(fd)
        except OSError as error:
            return {"error": str(error)}
        assert isinstance(answer, dict)
        return answer

    def judge(self, program: dict[str, Any]) -> dict[str, Any]:
        """The outcome of each test of a program: {code, tests, entry_point, setup,
        max_timeouts, lines}.
        """
        began = time.monotonic()
        tests = program["tests"]
        sources = tests if isinstance(tests, str) else tuple(tests)
        suite = prepare(sources, program["entry_point"], program["setup"])
        if used := [name for name in self.cold if name in program["code"]]:
            self.warm(used)
        outcomes, _ = self.outcomes(suite, program)
        answer = {"outcomes": outcomes, "seconds": time.monotonic() - began}
        if program["lines"]:
            # In a run of its own, so that watching it takes no time from a test.
            _, answer["lines"] = self.outcomes(suite, program, lines=True)
        # What a candidate tied into a cycle must not take memory from the next one's answers.
        gc.collect()
        return answer

    def outcomes(
        self, suite: Suite, program: dict[str, Any], lines: bool = False
    ) -> tuple[list[Outcome], list[int]]:
        """The outcome of each test, and on request the lines of the candidate's code that ran."""
        outcomes: list[Outcome] = []
        patience = program["max_timeouts"]
        defined: dict[str, Any] = {}
        seen: set[int] = set()
        fresh = True
        while len(outcomes) < len(suite.tests):
            if self.session is None:
                fresh = True
                session = self.fetch_guest()
                session.lines = seen
                outcome, defined = self.load(session, suite, program["code"], lines)
                if outcome != _PASSED:
                    outcomes += [outcome] * (len(suite.tests) - len(outcomes))
                    break
            outcome = self.test(suite, suite.tests[len(outcomes)], defined)
            # Earlier tests used up the guest's processor time: this one gets a guest of its own.
            if outcome[1] == "SIGXCPU" and not fresh:
                continue
            fresh = False
            outcomes.append(outcome)
            if patience is not None and sum(o[0] == "timeout" for o in outcomes) >= patience:
                outcomes += [outcome] * (len(suite.tests) - len(outcomes))
        self.end_guest()
        return outcomes, sorted(seen)

    def warm(self, names: list[str]) -> None:
        """Load libraries, here and where guests come from: not before one is needed."""
        self.cold -= set(names)
        libraries.load(names)
        os.write(self.control.fileno(), WARM)
        send(self.control.fileno(), list(names))
        self.report()

    def fetch_guest(self) -> Session:
        """The guest that waits."""
        os.write(self.control.fileno(), FETCH)
        _, fds, _, _ = socket.recv_fds(self.control, 1, 1)
        if not fds:
            raise Closed
        self.session = Session(fds[0])
        return self.session

    def load(
        self, session: Session, suite: Suite, code: str, lines: bool
    ) -> tuple[Outcome, dict[str, Any]]:
        """Have a guest run the candidate's code."""
        defined: dict[str, Any] = {}
        names = list(suite.names)
        outcome = self.guard(lambda: defined.update(session.load(code, names, suite.entry, lines)))
        return outcome, defined

    def test(self, suite: Suite, test: CodeType | None, defined: dict[str, Any]) -> Outcome:
        """Run one test against the guest that is there."""
        if test is None:
            return ("error", "InvalidTest", None)

        def run() -> None:
            # Tests draw the same numbers in every run.
            random.seed(0)
            names = suite.namespace(defined)
            exec(test, names)
            if suite.checks:
                candidate = suite.entry or ""
                if candidate not in defined:
                    raise NameError(candidate)
                names["check"](defined[candidate])

        return self.guard(run)

    def guard(self, action: Callable[[], None]) -> Outcome:
        """Run `action` under the clock and say how it ended; ends the guest if it is unusable."""
        session, self.expired = self.session, False
        outcome = _PASSED
        self.deadline.set(self.wall_s + _GRACE_S)
        try:
            signal.setitimer(signal.ITIMER_REAL, self.wall_s, _RING_AGAIN_S)
            try:
                action()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome = _outcome(error)
        self.deadline.set(0)
        # Asked of the records, not of the exception: a bare `except` may have swallowed it.
        if self.expired:
            self.end_guest()
            return ("timeout", None, None)
        if session is not None and session.over:
            return self.end_guest()
        return outcome

    def end_guest(self) -> Outcome:
        """Kill and reap the guest; the outcome of a test that it ended in."""
        if self.session is None:
            return _PASSED
        os.close(self.session.fd)
        self.session = None
        os.write(self.control.fileno(), REAP)
        status, cpu_s = self.report()
        if not os.WIFSIGNALED(status):
            return ("crashed", f"exit{os.waitstatus_to_exitcode(status)}", None)
        number = os.WTERMSIG(status)
        # The hard limit kills a candidate that ignores the soft one.
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= self.cpu_s):
            return ("timeout", "SIGXCPU", None)
        known = number in iter(signal.Signals)
        return ("crashed", signal.Signals(number).name if known else f"signal{number}", None)

    def report(self) -> tuple[int, float]:
        """Exit status and processor seconds of the guest that the zygote ended."""
        data = self.control.recv(REPORT.size, socket.MSG_WAITALL)
        if len(data) < REPORT.size:
            raise Closed
        return REPORT.unpack(data)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self.expired = True
        if self.session is not None:
            # A bare `except` may swallow what follows: the guest must not hold the test up again.
            self.session.over = True
        raise TimeUp


def _outcome(error: BaseException) -> Outcome:
    kind = type(error).__name__
    match error:
        case NotAProgram():
            return ("syntax", error.args[0], error.args[1])
        case CandidateError():
            statuses: dict[type[BaseException], str] = {
                MemoryError: "memory",
                PermissionError: "denied",
            }
            return (statuses.get(error.base, "error"), error.kind, error.line)
        case AssertionError():
            return ("failed", kind, None)
        case MemoryError():
            return ("memory", kind, None)
        case Malformed():
            return ("crashed", kind, None)
        case _:
            return ("error", kind, None)


def main(fd: int, parent: int, folder: str, options: dict[str, Any]) -> None:
    """Judge what comes over `fd` until nobody asks any more."""
    lockdown.die_with_parent(parent)
    judge = Judge(folder, options)
    try:
        send(fd, judge.started())
        resource.setrlimit(resource.RLIMIT_AS, (_OWN_MEMORY, _OWN_MEMORY))
        # The collection after each program need not look at what was there before the first.
        gc.freeze()
        while True:
            send(fd, judge.judge(receive(fd)))  # type: ignore[arg-type]
    except Closed:
        os._exit(0)
