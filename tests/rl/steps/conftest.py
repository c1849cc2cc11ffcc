"""What tests of rollouts and updates share: parameters, tasks, a worker with a real sandbox."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import changed, rank_context
from stage_fixtures import small_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, special_ids
from diffucoder.engine.job import Job
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Sandbox

TESTS = ["assert f(1) == 2", "assert f(2) == 3"]


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model of the tokenizer's vocabulary."""
    return small_model(tokenizer)


@pytest.fixture
def params(parameters: Callable[..., dict[str, Any]]) -> GrpoParams:
    """Parameters of short completions with the rewards of the default run."""
    changes = {
        "decoding.max_new_tokens": 12,
        "decoding.steps": 4,
        "rewards": parameters("base", "grpo")["rewards"],
    }
    return GrpoParams(**changed(parameters("test", "grpo", work="unused"), changes))


@pytest.fixture
def worker(
    tmp_path: Path, params: GrpoParams, tokenizer: PreTrainedTokenizerFast
) -> Iterator[RolloutWorker]:
    """A worker on the only rank."""
    job = Job(
        stage="grpo", parameters={}, inputs={}, work=tmp_path, output=tmp_path / "model", seed=0
    )
    with Sandbox(**params.sandbox.options()) as sandbox:
        yield RolloutWorker(rank_context(job), params, tokenizer, special_ids(tokenizer), sandbox)


@pytest.fixture
def make_task(tokenizer: PreTrainedTokenizerFast) -> Callable[[int], Task]:
    """`make_task(3)`: problem `p3` with the prompt "add 3"."""

    def make(number: int) -> Task:
        problem = Problem(
            problem_id=f"p{number}", prompt=f"add {number}", entry_point="f", tests=TESTS
        )
        return Task(problem, encode_chat(tokenizer, problem.prompt))

    return make
