"""Finer feedback, with a real tokenizer and a real sandbox."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, encode_texts, special_ids
from diffucoder.decoding import Completion
from diffucoder.rewards.extract import extract_code
from diffucoder.rl.feedback import executed_tokens, process_rewards
from diffucoder.rl.groups import Group, ScoredCompletion
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Sandbox

REFERENCE = "def f(x):\n    y = x + 1\n    return y\n"
BRANCHES = "def f(x):\n    if x > 99:\n        return 0\n    return x + 1\n"
PROBLEM = Problem(
    problem_id="p",
    prompt="add 1",
    entry_point="f",
    reference=REFERENCE,
    tests=["assert f(1) == 2"],
)


@pytest.fixture
def task(tokenizer: PreTrainedTokenizerFast) -> Task:
    return Task(PROBLEM, encode_chat(tokenizer, PROBLEM.prompt))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as opened:
        yield opened


@pytest.mark.parametrize("hint", ["", "```python\ndef f(x):\n"])
def test_tokens_of_lines_that_never_ran_take_no_part(
    task: Task, tokenizer: PreTrainedTokenizerFast, sandbox: Sandbox, hint: str
) -> None:
    text = f"```python\n{BRANCHES}```"
    [tokens] = encode_texts(tokenizer, [text[len(hint) :]])
    tokens = [*tokens, special_ids(tokenizer).turn_end]
    program = PROBLEM.program(extract_code(text))
    [verdict] = sandbox.run([program], executed_lines=True)
    canvas = torch.tensor(tokens)
    completion = Completion(tokens, canvas, torch.zeros_like(canvas), "end", None)
    scored = ScoredCompletion(completion, text, verdict, 0.0, {})
    group = Group(replace(task, prefix_hint=hint), [scored])
    [mask] = executed_tokens([group], tokenizer, len(tokens) + 2).tolist()
    left_out = [token for token, kept in zip(tokens, mask, strict=False) if not kept]
    assert tokenizer.decode(left_out).strip() == "return 0"
    # Filler is no part of the completion and is left to its own mask.
    assert mask[-2:] == [True, True]


def test_the_process_reward_is_the_share_of_prefixes_that_run(task: Task, sandbox: Sandbox) -> None:
    broken = "def f(x):\n    y = x\n    y = y.nothing\n    z = y\n    return z\n"
    shares = process_rewards(sandbox, [task] * 3, [REFERENCE, None, broken])
    assert shares == [1.0, 0.0, 0.25]
