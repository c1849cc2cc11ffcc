"""A programming problem: what a model is asked, and the tests that its program must pass."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from diffucoder.errors import BadData
from diffucoder.sandbox import Program


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with its reference and its tests; the fields are the problem table's columns.

    Attributes:
        problem_id: Unique name.
        source: The file, the suite or the set of families that it comes from.
        split: `sft`, `rl`, `validation`, `heldout` or `eval`.
        composition: The parts it is made of; no composition is in two splits.
        prompt: What the model is asked.
        entry_point: The function that the tests call; "" where the tests alone tell.
        reference: Source of a solution; may be "".
        tests: Assert statements, one verdict each; empty where `check` is given.
        check: Source that defines `check(candidate)`, one verdict in all; "" where `tests` are.
        pass_rates: Pass rates of reference models, 0 to 1, for the hard split; may be empty.
        setup: Trusted source that runs before each test, out of the candidate's reach.
        harness: Source that runs in the candidate's own process after its program, for suites
            whose tests cannot run elsewhere. `tests` then call the harness, not the candidate.

    Raises:
        BadData: If there are both `tests` and a `check`, or neither.
    """

    problem_id: str
    source: str = ""
    split: str = ""
    composition: str = ""
    prompt: str
    entry_point: str
    reference: str = ""
    tests: list[str] = field(default_factory=list)
    check: str = ""
    pass_rates: list[float] = field(default_factory=list)
    setup: str = ""
    harness: str = ""

    def __post_init__(self) -> None:
        if bool(self.tests) == bool(self.check):
            which = "both" if self.check else "neither"
            raise BadData(
                f"problem {self.problem_id!r} has {which} of `tests` and `check`: give assert "
                "statements as `tests`, or a source that defines check(candidate) as `check`"
            )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read a row of the problem table.

        Args:
            record: Values by column. Columns with a default may be absent or None; lists may be
                arrays; other columns are ignored.

        Returns:
            The problem.

        Raises:
            BadData: If a column without a default is absent, or the tests are not as they must be.
        """
        values = {
            column.name: record[column.name]
            for column in fields(cls)
            if record.get(column.name) is not None
        }
        if absent := {"problem_id", "prompt", "entry_point"} - values.keys():
            raise BadData(
                f"a problem lacks the columns {sorted(absent)}; it has {sorted(map(str, record))}"
            )
        for name in {"tests", "pass_rates"} & values.keys():
            values[name] = list(values[name])
        return cls(**values)

    def record(self) -> dict[str, Any]:
        """The problem as a row of the problem table."""
        return asdict(self)

    def program(self, code: str) -> Program:
        """A candidate for this problem, as the sandbox runs it.

        Args:
            code: Source of the candidate; never trusted.

        Returns:
            The candidate with the tests it must pass.
        """
        tests = self.tests or self.check
        if self.harness:
            return Program(f"{code}\n\n{self.harness}", tests)
        return Program(code, tests, self.entry_point or None, self.setup)
