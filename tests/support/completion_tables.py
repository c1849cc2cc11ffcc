"""Small tables of completions as evaluation and analysis leave them."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams

HOSTILE = '</code></pre><script>document.title = "taken over"</script><img src=x onerror=alert(1)>'


def completion(**changes: Any) -> dict[str, Any]:
    """A row with a right answer; `changes` replace its cells."""
    row = {
        "checkpoint": "grpo",
        "suite": "heldout",
        "problem_id": "p0",
        "sample": 0,
        "decoding": "sampled",
        "temperature": 0.2,
        "steps": 2,
        "decoding_params": "{}",
        "prompt": "Write a function `f(xs)` that returns the sum of xs.",
        "style": "instruct",
        "text": "```python\ndef f(xs):\n    return sum(xs)\n```",
        "code": "def f(xs):\n    return sum(xs)\n",
        "status": "passed",
        "passed": True,
        "pass_rate": 1.0,
        "trust": "unforgeable",
        "tokens": [5, 6, 7],
        "pieces": ["def", " f", "<|im_end|>"],
        "reveal_step": [0, 2, 1],
        "length": 3,
    }
    return row | changes


def failed(**changes: Any) -> dict[str, Any]:
    """A row with a wrong answer."""
    return completion(status="failed", passed=False, pass_rate=0.5, **changes)


@pytest.fixture(scope="session")
def bootstrap() -> BootstrapParams:
    return BootstrapParams(resamples=200, confidence=0.95)


@pytest.fixture(scope="session")
def make_row() -> Callable[..., dict[str, Any]]:
    return completion


@pytest.fixture(scope="session")
def completions() -> pd.DataFrame:
    """Ten problems: instruct solves the even ones, coupled-GRPO all but the last."""
    rows = []
    for decoding, temperature in (("sampled", 0.2), ("greedy", 0.0)):
        for number in range(10):
            about = {
                "problem_id": f"p{number}",
                "decoding": decoding,
                "temperature": temperature,
            }
            rows.append(failed(checkpoint="adapted", code=HOSTILE, text=HOSTILE, **about))
            instruct = completion if number % 2 == 0 else failed
            rows.append(instruct(checkpoint="instruct", **about))
            grpo = failed if number == 9 else completion
            rows.append(grpo(checkpoint="grpo", **about))
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def sweep() -> pd.DataFrame:
    """Six problems at two temperatures: cold decodes left to right, hot right to left."""
    rows = []
    for checkpoint in ("instruct", "grpo"):
        for number in range(6):
            for sample in range(2):
                about = {"checkpoint": checkpoint, "problem_id": f"p{number}", "sample": sample}
                cold = about | {"decoding": "T = 0.2", "temperature": 0.2, "steps": 4}
                hot = about | {"decoding": "T = 1", "temperature": 1.0, "steps": 4}
                half = about | {"decoding": "half", "temperature": 0.2, "steps": 2}
                rows.append(completion(**cold, reveal_step=[0, 1, 2]))
                rows.append(completion(**hot, reveal_step=[2, 1, 0], pieces=["<b>", "x", "\n"]))
                # Only instruct pays for haste.
                hasty = failed if checkpoint == "instruct" else completion
                rows.append(hasty(**half, reveal_step=[0, 0, 1]))
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def reveals() -> pd.DataFrame:
    """One reveal of the sweep's first completion, and one after the end of its text."""
    about = {"checkpoint": "instruct", "problem_id": "p0", "sample": 0, "decoding": "T = 0.2"}
    shares = {"probability": 0.9, "alternative_probabilities": [0.9, 0.1]}
    look = about | shares | {"alternatives": ["def", "</code>"], "reveal_step": 0}
    return pd.DataFrame([look | {"position": 0}, look | {"position": 7, "reveal_step": 3}])
