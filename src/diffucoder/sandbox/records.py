"""What goes into the sandbox and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diffucoder.errors import BadData

Status = Literal["passed", "failed", "error", "syntax", "timeout", "memory", "denied", "crashed"]


@dataclass(frozen=True)
class Program:
    """A candidate's source and the tests it must pass.

    code: Python source of a module; never trusted.
    tests: assert statements, one verdict each; or one source text that defines
        `check(candidate)`, which counts as one test. Trusted, and never shown to the candidate.
    entry_point: the function under test. Where it is None, it is the first function that the
        assert statements call, or for a check the last one that the code defines.
    setup: trusted source that runs before each test; what it defines, tests can use, and the
        candidate cannot replace.

    Raises BadData when there is no test.
    """

    code: str
    tests: Sequence[str] | str
    entry_point: str | None = None
    setup: str = ""

    def __post_init__(self) -> None:
        if not self.tests:
            raise BadData("a program without tests: give assert statements or a check(candidate)")

    @property
    def test_count(self) -> int:
        """How many verdicts the tests give."""
        return 1 if isinstance(self.tests, str) else len(self.tests)


@dataclass(frozen=True)
class Verdict:
    """What came of one program.

    status: `passed` when every test did, else that of the first that did not: `failed` (an assert
        was false), `error` (an exception), `syntax` (the code does not compile), `timeout` (wall
        clock or processor time), `memory`, `denied` (it tried what the sandbox forbids),
        `crashed` (its process ended).
    passed: one bool for each test.
    error_type: the exception's or signal's name where there is one; never its message, which the
        candidate writes.
    line: the line of the candidate's code where it happened, if known.
    seconds: wall time of the program, all tests together.
    executed_lines: the lines of the candidate's code that ran while it was loaded and tested, in
        order, if they were asked for. The candidate's own account: it can leave out lines and
        name others, and nothing is decided by it.
    """

    status: Status
    passed: tuple[bool, ...]
    error_type: str | None
    line: int | None
    seconds: float
    executed_lines: tuple[int, ...] | None = None

    @property
    def pass_rate(self) -> float:
        """Share of the tests passed, 0 to 1."""
        return sum(self.passed) / len(self.passed)
