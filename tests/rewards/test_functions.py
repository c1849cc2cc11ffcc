"""Rewards from records: weights, parts, and functions a user names."""

import math
import sys
from types import ModuleType

import pytest
from pydantic import ValidationError

from diffucoder.config.rewards import RewardParams, SandboxParams
from diffucoder.errors import BadParameters
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.functions import RewardRecord, brevity, score
from diffucoder.sandbox import Program, Sandbox, Verdict

PAPER = RewardParams.model_validate(
    {
        "terms": {
            "tests": {"function": "diffucoder.rewards.functions.tests_passed", "weight": 2.0},
            "format": {"function": "diffucoder.rewards.functions.code_format", "weight": 0.5},
        }
    }
)
TESTS = ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3", "assert f(4) == 4"]


def test_the_papers_reward_over_real_verdicts() -> None:
    completions = [
        "```python\ndef f(x): return x\n```",
        "```py\ndef f(x): return x % 4\n``` Done.",
        "```python\ndef f(x) return x\n```",
        "def f(x): return x",
    ]
    with Sandbox(workers=1) as sandbox:
        codes = [extract_code(text) for text in completions]
        verdicts = sandbox.run(Program(code or "", TESTS) for code in codes)
    records = [
        RewardRecord("identity", text, code, verdict)
        for text, code, verdict in zip(completions, codes, verdicts, strict=True)
    ]
    totals, parts = score(records, PAPER)
    assert parts == [
        {"tests": 1.0, "format": 1.0},
        {"tests": 0.75, "format": 1.0},
        {"tests": 0.0, "format": 0.5},
        {"tests": 0.0, "format": 0.0},
    ]
    assert totals == [2.5, 2.0, 0.25, 0.0]


def test_tests_earn_nothing_without_the_format() -> None:
    record = RewardRecord("p", "no fence", None, Verdict("passed", (True,), None, None, 0.0))
    assert score([record], PAPER) == ([0.0], [{"tests": 0.0, "format": 0.0}])


def test_brevity_halves_with_every_hundred_characters() -> None:
    verdict = Verdict("failed", (False,), None, None, 0.0)
    for length, expected in [(0, 1.0), (100, 0.5), (300, 0.125)]:
        assert brevity(RewardRecord("p", "x" * length, None, verdict)) == pytest.approx(expected)


@pytest.fixture
def user_module() -> ModuleType:
    module = ModuleType("rewards_of_a_user")
    module.brevity = lambda record: 1.0 / len(record.completion)  # type: ignore[attr-defined]
    module.broken = lambda record: math.nan  # type: ignore[attr-defined]
    module.failing = lambda record: 1 / 0  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def _params(path: str) -> RewardParams:
    return RewardParams.model_validate({"terms": {"mine": {"function": path, "weight": -1}}})


@pytest.mark.usefixtures("user_module")
def test_a_user_adds_a_reward_by_its_import_path() -> None:
    record = RewardRecord("p", "four", None, Verdict("error", (False,), None, None, 0.0))
    totals, parts = score([record], _params("rewards_of_a_user.brevity"))
    assert totals == [-0.25]
    assert parts == [{"mine": 0.25}]
    with pytest.raises(BadParameters, match="finite"):
        score([record], _params("rewards_of_a_user.broken"))
    with pytest.raises(BadParameters, match=r"'mine' raised ZeroDivisionError.*'error'"):
        score([record], _params("rewards_of_a_user.failing"))


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    "name", ["rewards_of_a_user.none", "no_such.f", "rewards_of_a_user.number"]
)
def test_a_reward_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(BadParameters, match=name.replace(".", r"\.")):
        score([], _params(name))


def test_parameters_are_strict() -> None:
    with pytest.raises(ValidationError):
        _params("not a path")
    limits = {"workers": None, "tier": "auto", "memory_mb": 256, "cpu_s": 2, "wall_s": 6}
    params = SandboxParams.model_validate(limits | {"max_timeouts": 2})
    assert Sandbox(**params.options()).workers >= 1
    with pytest.raises(ValidationError):
        SandboxParams.model_validate(limits | {"max_timeouts": 2, "memory": 1})
