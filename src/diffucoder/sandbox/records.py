"""What goes into the sandbox and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diffucoder.errors import BadData

Status = Literal["passed", "failed", "error", "syntax", "timeout", "memory", "denied", "crashed"]


@dataclass(frozen=True)
class Program:
    """A candidate's source and the tests that it must pass.

    Attributes:
        code: Python source of a module; never trusted.
        tests: Assert statements, one verdict each; or one source text that defines
            `check(candidate)`, which counts as one test. Trusted, and never shown to the
            candidate.
        entry_point: The function under test. If it is None, it is the first function that the
            assert statements call, or for a check the last one that the code defines.
        setup: Trusted source that runs before each test; tests can use what it defines, and the
            candidate cannot replace it.

    Raises:
        BadData: If there is no test.
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
        """Number of verdicts that the tests give."""
        return 1 if isinstance(self.tests, str) else len(self.tests)


@dataclass(frozen=True)
class Verdict:
    """The result of one program.

    Attributes:
        status: `passed` if every test passed, else the status of the first that did not: `failed`
            (an assert was false), `error` (an exception), `syntax` (the code does not compile),
            `timeout` (wall clock or processor time), `memory`, `denied` (it tried what the
            sandbox forbids), `crashed` (its process ended).
        passed: One bool per test.
        error_type: Name of the exception or signal, if there is one; never its message, which the
            candidate writes.
        line: Line of the candidate's code where it happened, from 1, if known.
        seconds: Wall time of the program, all tests together.
        executed_lines: Lines of the candidate's code that ran while it was loaded and tested, in
            order, if they were requested. The candidate's process reports them: it can leave out
            lines and name others, so nothing may be decided by them.
    """

    status: Status
    passed: tuple[bool, ...]
    error_type: str | None
    line: int | None
    seconds: float
    executed_lines: tuple[int, ...] | None = None

    @property
    def pass_rate(self) -> float:
        """Share of the tests that passed, 0 to 1."""
        return sum(self.passed) / len(self.passed)
