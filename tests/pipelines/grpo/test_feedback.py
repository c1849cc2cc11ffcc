"""Finer feedback, with a real tokenizer and a real sandbox."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, encode_texts, special_ids
from diffucoder.rewards.extract import extract_code
from diffucoder.rl.feedback import begun, executed_tokens, process_rewards
from diffucoder.rl.tasks import Scored, Task
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


def test_the_curriculum_writes_the_beginning(
    task: Task, tokenizer: PreTrainedTokenizerFast
) -> None:
    stages = [begun(task, tokenizer, stage, 3, room=99) for stage in (1, 2, 3)]
    assert [stage.given for stage in stages] == [
        "```python\ndef f(x):\n    y = x + 1\n",
        "```python\ndef f(x):\n",
        "",
    ]
    asked = len(task.prompt_tokens)
    assert all(stage.prompt_tokens[:asked] == task.prompt_tokens for stage in stages)
    written = [tokenizer.decode(stage.prompt_tokens[asked:]) for stage in stages]
    assert written == [stage.given for stage in stages]


def test_a_task_without_room_or_reference_stays_whole(
    task: Task, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert begun(task, tokenizer, 1, 3, room=len(task.prompt_tokens) + 1) == task
    bare = replace(task, problem=replace(PROBLEM, reference=""))
    assert begun(bare, tokenizer, 1, 3, room=99) == bare


@pytest.mark.parametrize("given", ["", "```python\ndef f(x):\n"])
def test_tokens_of_lines_that_never_ran_take_no_part(
    task: Task, tokenizer: PreTrainedTokenizerFast, sandbox: Sandbox, given: str
) -> None:
    text = f"```python\n{BRANCHES}```"
    [tokens] = encode_texts(tokenizer, [text[len(given) :]])
    tokens = [*tokens, special_ids(tokenizer).turn_end]
    program = PROBLEM.program(extract_code(text))
    [verdict] = sandbox.run([program], executed_lines=True)
    scored = Scored(tokens, text, verdict, 0.0, {})
    begun_task = replace(task, given=given)
    [mask] = executed_tokens([begun_task], [scored], tokenizer, len(tokens) + 2).tolist()
    left_out = [token for token, kept in zip(tokens, mask, strict=False) if not kept]
    assert tokenizer.decode(left_out).strip() == "return 0"
    # Filler is no part of the completion and is left to its own mask.
    assert mask[-2:] == [True, True]


def test_the_process_reward_is_the_share_of_prefixes_that_run(task: Task, sandbox: Sandbox) -> None:
    broken = "def f(x):\n    y = x\n    y = y.nothing\n    z = y\n    return z\n"
    shares = process_rewards(sandbox, [task] * 3, [REFERENCE, None, broken])
    assert shares == [1.0, 0.0, 0.25]
