"""StepCoder's curriculum: its subtasks, its stages, and the hints that it writes."""

import ast
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat
from diffucoder.errors import BadData
from diffucoder.rewards.stepcoder import statements
from diffucoder.rl.curriculum import next_stage, subtask, with_prefix_hint
from diffucoder.rl.tasks import Task

REFERENCE = """\
def f(xs):
    total = 0
    for x in xs:
        if x > 0:
            total += x
        else:
            total -= x
    return total
"""
PROBLEM = Problem(
    problem_id="p",
    prompt="add 1",
    entry_point="f",
    reference="def f(x):\n    y = x + 1\n    return y\n",
    tests=["assert f(1) == 2"],
)


def test_stages_ask_for_ever_more_and_in_the_end_for_all() -> None:
    tasks = [subtask(REFERENCE, stage, 4) for stage in (1, 2, 3, 4)]
    assert all(task.prefix + task.completion == REFERENCE for task in tasks)
    assert tasks[0].completion == "    return total\n"
    lengths = [len(task.completion) for task in tasks]
    assert lengths == sorted(set(lengths)) and lengths[-1] == len(REFERENCE)
    assert subtask(REFERENCE, 1, 1).prefix == ""


@pytest.mark.parametrize("stages", [2, 3, 5, 20])
def test_cuts_lie_before_statements(stages: int) -> None:
    starts = {first for first, _, _ in statements(ast.parse(REFERENCE))}
    for stage in range(1, stages + 1):
        assert subtask(REFERENCE, stage, stages).prefix.count("\n") + 1 in starts


def test_a_stage_is_left_when_it_is_mastered() -> None:
    assert next_stage(1, 3, pass_rate=0.5, threshold=0.6) == 1
    assert next_stage(1, 3, pass_rate=0.6, threshold=0.6) == 2
    assert next_stage(3, 3, pass_rate=1.0, threshold=0.6) == 3


def test_what_is_no_curriculum_is_refused() -> None:
    with pytest.raises(BadData, match="parses and is not empty"):
        subtask("def f(", 1, 2)
    with pytest.raises(ValueError, match="from 1 to 3, got 0"):
        subtask(REFERENCE, 0, 3)


@pytest.fixture
def task(tokenizer: PreTrainedTokenizerFast) -> Task:
    return Task(PROBLEM, encode_chat(tokenizer, PROBLEM.prompt))


def test_the_curriculum_writes_the_beginning(
    task: Task, tokenizer: PreTrainedTokenizerFast
) -> None:
    stages = [with_prefix_hint(task, tokenizer, stage, 3, max_tokens=99) for stage in (1, 2, 3)]
    assert [stage.prefix_hint for stage in stages] == [
        "```python\ndef f(x):\n    y = x + 1\n",
        "```python\ndef f(x):\n",
        "",
    ]
    asked = len(task.prompt_tokens)
    assert all(stage.prompt_tokens[:asked] == task.prompt_tokens for stage in stages)
    written = [tokenizer.decode(stage.prompt_tokens[asked:]) for stage in stages]
    assert written == [stage.prefix_hint for stage in stages]


def test_a_task_without_room_or_reference_stays_whole(
    task: Task, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert with_prefix_hint(task, tokenizer, 1, 3, max_tokens=len(task.prompt_tokens) + 1) == task
    bare = replace(task, problem=replace(PROBLEM, reference=""))
    assert with_prefix_hint(bare, tokenizer, 1, 3, max_tokens=99) == bare
