"""What a suite is, and how all suites put a problem to a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites.options import Style

# `unforgeable`: tests and expected answers never enter the candidate's process.
# `contained_only`: they do, and a candidate that looks for them can claim to have passed.
Trust = Literal["unforgeable", "contained_only"]

_ASK = "Write one self-contained Python program and put it in a single fenced code block."


@dataclass(frozen=True)
class Suite:
    """An external suite: its file, how a row becomes a problem, and what its verdicts are worth.

    Attributes:
        title: Name in tables and figures.
        file: Name of its file, as its source publishes it.
        problem: A row of the file as a problem, put in the given style.
        trust: Whether a candidate could forge a verdict.
        includes: Whether a row of the file belongs to the suite.
        style: The one style of its problems; None where each checkpoint has its own.
    """

    title: str
    file: str
    problem: Callable[[Mapping[str, Any], Style], Problem]
    trust: Trust = "unforgeable"
    includes: Callable[[Mapping[str, Any]], bool] = lambda row: True
    style: Style | None = None

    @property
    def label(self) -> str:
        """The title, with a warning where a number could be forged."""
        return f"{self.title} (contained only)" if self.trust == "contained_only" else self.title


def ask(text: str) -> str:
    """A user's turn that asks for a program."""
    return f"{_ASK}\n{text}"


def fenced(prompt: str) -> str:
    """The beginning of a program as a block of a user's turn."""
    return f"```python\n{prompt.rstrip()}\n```"
