"""Runs the tests of one program after the other and reports the outcome of each."""

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
from .compiled_tests import CompiledTests, compile_tests
from .deadline import Deadline
from .remote import CandidateError
from .session import GuestSession, NotAProgram
from .wire import Closed, Malformed, receive, send
from .zygote import FETCH, REAP, REPORT, WARM

# No site-packages, nothing from the user's environment. Not -I: it would ignore the hash seed,
# and the order of a set would differ from run to run.
FLAGS = ("-s", "-S", "-P", "-B", "-W", "ignore", "-X", "utf8")
_NEEDED_TO_START = ("LD_LIBRARY_PATH", "PYTHONHOME")  # by some interpreters
BOOT = "import sys; sys.path.insert(0, {0!r}); from inside import {1} as m; del sys.path[0]; m.{2}"

# Bytes; limits what a guest's answers may become once decoded.
_OWN_MEMORY = 2**30
# Seconds until a test's alarm repeats, in case a bare `except` swallowed it.
_RING_AGAIN_S = 1.0
# Seconds beyond its wall limit that a test may stay in one call into C; then the judge is killed.
_GRACE_S = 2.0

Outcome = tuple[str, str | None, int | None]  # status, error type, line in the candidate's code
_PASSED: Outcome = ("passed", None, None)


def environment() -> dict[str, str]:
    """Return the environment of a judge and its zygote; guests see nothing of it."""
    inherited = {name: os.environ[name] for name in _NEEDED_TO_START if name in os.environ}
    # A heap per thread would count against a candidate's address space.
    return {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"} | libraries.ENVIRONMENT | inherited


class TimeUp(BaseException):
    """A test reached its wall clock limit. A test cannot catch it by `except Exception`."""


class Judge:
    """One zygote, and the tests that run against its guests.

    Args:
        folder: The folder that holds the package `inside`.
        options: `tier`; `memory_mb` and `cpu_s` of a guest; `wall_s` for loading and for each
            test; `libraries`, the file of each that guests and tests may import.

    Attributes:
        cpu_s: Processor seconds of a guest.
        wall_s: Wall clock seconds for loading and for each test.
        control: Socket to the zygote.
        zygote: Its process.
        cold: Libraries that were not imported yet.
        session: The guest in use, if there is one.
        expired: Whether the test that runs reached its wall clock limit.
        deadline: The timer that kills this process.
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
        self.session: GuestSession | None = None
        self.expired = False
        self.deadline = Deadline()
        signal.signal(signal.SIGALRM, self._ring)

    def started(self) -> dict[str, Any]:
        """Wait for the zygote to start.

        Returns:
            Its tier, or the error that prevented it.
        """
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
        """Run the tests of a program.

        Args:
            program: `code`, `tests`, `entry_point`, `setup`, `max_timeouts`, `lines`; see
                `records.Program` and `pool.Sandbox`.

        Returns:
            `outcomes`, one per test; `seconds` in all; and `lines` that ran, if requested.
        """
        began = time.monotonic()
        tests = program["tests"]
        sources = tests if isinstance(tests, str) else tuple(tests)
        compiled = compile_tests(sources, program["entry_point"], program["setup"])
        if used := [name for name in self.cold if name in program["code"]]:
            self.warm(used)
        outcomes, _ = self.outcomes(compiled, program)
        answer = {"outcomes": outcomes, "seconds": time.monotonic() - began}
        if program["lines"]:
            # In a second run, so that tracing takes no time from a test.
            _, answer["lines"] = self.outcomes(compiled, program, lines=True)
        # Cycles of one candidate's answers must not take memory from the next one's.
        gc.collect()
        return answer

    def outcomes(
        self, compiled: CompiledTests, program: dict[str, Any], lines: bool = False
    ) -> tuple[list[Outcome], list[int]]:
        """Run all tests, each outcome counted once.

        Args:
            compiled: The tests.
            program: `code` and `max_timeouts` are read.
            lines: Whether to collect the lines of the candidate's code that run.

        Returns:
            The outcome of each test, and the lines.
        """
        outcomes: list[Outcome] = []
        patience = program["max_timeouts"]
        defined: dict[str, Any] = {}
        seen: set[int] = set()
        fresh = True
        while len(outcomes) < len(compiled.tests):
            if self.session is None:
                fresh = True
                session = self.fetch_guest()
                session.lines = seen
                outcome, defined = self.load(session, compiled, program["code"], lines)
                if outcome != _PASSED:
                    outcomes += [outcome] * (len(compiled.tests) - len(outcomes))
                    break
            outcome = self.test(compiled, compiled.tests[len(outcomes)], defined)
            # Earlier tests used up the guest's processor time: this one gets a guest of its own.
            if outcome[1] == "SIGXCPU" and not fresh:
                continue
            fresh = False
            outcomes.append(outcome)
            if patience is not None and sum(o[0] == "timeout" for o in outcomes) >= patience:
                outcomes += [outcome] * (len(compiled.tests) - len(outcomes))
        self.end_guest()
        return outcomes, sorted(seen)

    def warm(self, names: list[str]) -> None:
        """Import libraries, here and in the zygote, when a program first needs them.

        Args:
            names: Their top-level names.
        """
        self.cold -= set(names)
        libraries.load(names)
        os.write(self.control.fileno(), WARM)
        send(self.control.fileno(), list(names))
        self.report()

    def fetch_guest(self) -> GuestSession:
        """Take the guest that waits.

        Returns:
            A session with it.

        Raises:
            Closed: If the zygote ended.
        """
        os.write(self.control.fileno(), FETCH)
        _, fds, _, _ = socket.recv_fds(self.control, 1, 1)
        if not fds:
            raise Closed
        self.session = GuestSession(fds[0])
        return self.session

    def load(
        self, session: GuestSession, compiled: CompiledTests, code: str, lines: bool
    ) -> tuple[Outcome, dict[str, Any]]:
        """Have a guest run the candidate's code.

        Args:
            session: The guest.
            compiled: The tests, whose names are asked for.
            code: Source of the candidate.
            lines: Whether to collect the lines that run.

        Returns:
            The outcome, and what the code defined.
        """
        defined: dict[str, Any] = {}
        names = list(compiled.names)
        outcome = self.guard(
            lambda: defined.update(session.load(code, names, compiled.entry, lines))
        )
        return outcome, defined

    def test(
        self, compiled: CompiledTests, test: CodeType | None, defined: dict[str, Any]
    ) -> Outcome:
        """Run one test against the guest in use.

        Args:
            compiled: The tests it belongs to.
            test: Its code; None for one that does not compile.
            defined: What the candidate defined.

        Returns:
            The outcome.
        """
        if test is None:
            return ("error", "InvalidTest", None)

        def run() -> None:
            # Tests draw the same numbers in every run.
            random.seed(0)
            names = compiled.namespace(defined)
            exec(test, names)
            if compiled.checks:
                candidate = compiled.entry or ""
                if candidate not in defined:
                    raise NameError(candidate)
                names["check"](defined[candidate])

        return self.guard(run)

    def guard(self, action: Callable[[], None]) -> Outcome:
        """Run something under the wall clock limit; ends the guest if it becomes unusable.

        Args:
            action: What to run.

        Returns:
            The outcome.
        """
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
        # Not read from the exception: a bare `except` may have swallowed it.
        if self.expired:
            self.end_guest()
            return ("timeout", None, None)
        if session is not None and session.over:
            return self.end_guest()
        return outcome

    def end_guest(self) -> Outcome:
        """Kill and reap the guest.

        Returns:
            The outcome of a test during which it ended.
        """
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
        known = number in {member.value for member in signal.Signals}
        return ("crashed", signal.Signals(number).name if known else f"signal{number}", None)

    def report(self) -> tuple[int, float]:
        """Read the zygote's report on the guest that it ended.

        Returns:
            Exit status and processor seconds.

        Raises:
            Closed: If the zygote ended.
        """
        data = self.control.recv(REPORT.size, socket.MSG_WAITALL)
        if len(data) < REPORT.size:
            raise Closed
        return REPORT.unpack(data)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self.expired = True
        if self.session is not None:
            # A bare `except` may swallow TimeUp: the guest must not block the test again.
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
    """Judge programs until the other side of a channel is closed.

    Args:
        fd: Descriptor of the channel.
        parent: Process id of the parent.
        folder: The folder that holds the package `inside`.
        options: As in `Judge`.
    """
    lockdown.die_with_parent(parent)
    judge = Judge(folder, options)
    try:
        send(fd, judge.started())
        resource.setrlimit(resource.RLIMIT_AS, (_OWN_MEMORY, _OWN_MEMORY))
        # The collection after each program need not traverse what existed before the first.
        gc.freeze()
        while True:
            send(fd, judge.judge(receive(fd)))  # type: ignore[arg-type]
    except Closed:
        os._exit(0)
