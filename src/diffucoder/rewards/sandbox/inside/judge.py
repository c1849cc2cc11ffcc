"""Runs the tests of one program after the other and says what came of each."""

import gc
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from . import lockdown
from .remote import CandidateError, NotAProgram, Session
from .suite import Suite, prepare
from .wire import Closed, Malformed, receive, send
from .zygote import REPORT

# No site-packages, nothing from the user's environment. Not -I: it would ignore the hash seed,
# and the order of a set would differ from run to run.
FLAGS = ("-s", "-S", "-P", "-B", "-X", "utf8")
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")  # without which some interpreters do not start
BOOT = "import sys; sys.path.insert(0, {0!r}); from inside import {1} as m; del sys.path[0]; m.{2}"

# Bounds what a guest's answers may become once decoded.
_OWN_MEMORY = 2**30
# A test's clock rings again this often if a bare `except` swallowed it.
_RING_AGAIN_S = 1.0
# Processor time the judge may use beyond a test's wall limit inside one C call, then it is killed.
_GRACE_S = 2.0

Outcome = tuple[str, str | None, int | None]  # status, error type, line in the candidate's code
_PASSED: Outcome = ("passed", None, None)


def environment() -> dict[str, str]:
    """What a judge and its zygote see of the user's environment; guests see nothing."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PYTHONHASHSEED": "0"} | kept


class TimeUp(BaseException):
    """A test ran into its wall clock limit. No test can catch it by `except Exception`."""


class Judge:
    """One zygote and the tests that run against its guests.

    options: tier, memory_mb, cpu_s (for a guest), wall_s (for loading and for each test).
    """

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        self.cpu_s, self.wall_s = math.ceil(options["cpu_s"]), float(options["wall_s"])
        self.control, theirs = socket.socketpair()
        for_zygote = {k: options[k] for k in ("tier", "memory_mb")} | {"cpu_s": self.cpu_s}
        call = f"main({theirs.fileno()}, {os.getpid()}, {for_zygote!r})"
        self.zygote = subprocess.Popen(
            [sys.executable, *FLAGS, "-c", BOOT.format(folder, "zygote", call)],
            pass_fds=[theirs.fileno()],
            env=environment(),
        )
        theirs.close()
        self.session: Session | None = None
        self.expired = False
        signal.signal(signal.SIGALRM, self._ring)

    def judge(self, program: dict[str, Any]) -> dict[str, Any]:
        """The outcome of each test of a program: {code, tests, entry_point, setup,
        max_timeouts}.
        """
        began = time.monotonic()
        tests, patience = program["tests"], program["max_timeouts"]
        sources = tests if isinstance(tests, str) else tuple(tests)
        suite = prepare(sources, program["entry_point"], program["setup"])
        outcomes: list[Outcome] = []
        defined: dict[str, Any] = {}
        fresh = True
        while len(outcomes) < len(suite.tests):
            if self.session is None:
                fresh = True
                outcome, defined = self.load(suite, program["code"])
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
        # What a candidate tied into a cycle must not take memory from the next one's answers.
        gc.collect()
        return {"outcomes": outcomes, "seconds": time.monotonic() - began}

    def load(self, suite: Suite, code: str) -> tuple[Outcome, dict[str, Any]]:
        """Start a guest with the candidate's code."""
        os.write(self.control.fileno(), b"f")
        _, fds, _, _ = socket.recv_fds(self.control, 1, 1)
        self.session = session = Session(fds[0])
        defined: dict[str, Any] = {}
        outcome = self.guard(
            lambda: defined.update(session.load(code, list(suite.names), suite.entry))
        )
        return outcome, defined

    def test(self, suite: Suite, test: CodeType | None, defined: dict[str, Any]) -> Outcome:
        """Run one test against the guest that is there."""
        if test is None:
            return ("error", "InvalidTest", None)

        def run() -> None:
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
        signal.setitimer(signal.ITIMER_PROF, self.wall_s + _GRACE_S)
        try:
            signal.setitimer(signal.ITIMER_REAL, self.wall_s, _RING_AGAIN_S)
            try:
                action()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome = _outcome(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
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
        os.write(self.control.fileno(), b"r")
        status, cpu_s = REPORT.unpack(self.control.recv(REPORT.size, socket.MSG_WAITALL))
        if not os.WIFSIGNALED(status):
            return ("crashed", f"exit{os.waitstatus_to_exitcode(status)}", None)
        number = os.WTERMSIG(status)
        # The hard limit kills a candidate that ignores the soft one.
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= self.cpu_s):
            return ("timeout", "SIGXCPU", None)
        return ("crashed", signal.Signals(number).name, None)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self.expired = True
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
        send(fd, receive(judge.control.fileno()))
        resource.setrlimit(resource.RLIMIT_AS, (_OWN_MEMORY, _OWN_MEMORY))
        # The collection after each program need not look at what was there before the first.
        gc.freeze()
        while True:
            send(fd, judge.judge(receive(fd)))  # type: ignore[arg-type]
    except Closed:
        os._exit(0)
