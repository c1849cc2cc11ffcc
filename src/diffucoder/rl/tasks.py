"""What rollouts are asked, and what became of their answers."""

from dataclasses import dataclass

from diffucoder.data.problems import Problem
from diffucoder.sandbox import Verdict


@dataclass(frozen=True)
class Task:
    """A problem with its prompt in tokens.

    Attributes:
        problem: What is asked, and the tests.
        prompt_tokens: The conversation up to the canvas, what is given of the answer included.
        given: The beginning of the answer, where a curriculum gives it.
    """

    problem: Problem
    prompt_tokens: list[int]
    given: str = ""


@dataclass(frozen=True)
class Scored:
    """A completion and what became of it."""

    tokens: list[int]
    text: str
    verdict: Verdict
    reward: float
    parts: dict[str, float]
