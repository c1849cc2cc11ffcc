"""Finer feedback on rollouts: a curriculum, lines that ran, prefixes that run.

Shapes: B completions, L canvas positions.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from diffucoder.data.tokenizer import encode_texts
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.process import line_rewards, prefix_programs, process_reward
from diffucoder.rewards.spans import lines_of_tokens, token_spans
from diffucoder.rewards.stepcoder import executed_mask, subtask
from diffucoder.rl.tasks import Scored, Task
from diffucoder.sandbox import Sandbox


def begun(task: Task, tokenizer: Any, stage: int, stages: int, room: int) -> Task:
    """The task with the beginning of its reference written as the answer's beginning.

    What is given stands before the canvas, is seen by every view and scored by none.

    Args:
        task: the whole task.
        tokenizer: of the model.
        stage: of the curriculum, from 1; the last gives nothing.
        stages: how many there are.
        room: tokens that prompt and given part may have together; a task that needs more, or has
            no reference, stays whole.
    """
    if stage == stages or not task.problem.reference:
        return task
    given = f"```python\n{subtask(task.problem.reference, stage, stages).given}"
    [tokens] = encode_texts(tokenizer, [given])
    prompt_tokens = [*task.prompt_tokens, *tokens]
    if len(prompt_tokens) > room:
        return task
    return replace(task, prompt_tokens=prompt_tokens, given=given)


def executed_tokens(
    tasks: Sequence[Task], scored: Sequence[Scored], tokenizer: Any, length: int
) -> Tensor:
    """Which tokens take part in the loss: bool `[B, L]`, false on lines that no test ran.

    Args:
        tasks: of each completion.
        scored: completions whose verdicts name the lines that ran.
        tokenizer: of the model.
        length: L.
    """
    mask_BL = torch.ones(len(scored), length, dtype=torch.bool)
    for row, (task, answer) in enumerate(zip(tasks, scored, strict=True)):
        pieces = [
            tokenizer.decode([token], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for token in answer.tokens
        ]
        if task.given + "".join(pieces) != answer.text:
            continue  # a character spread over tokens: no telling where its lines begin
        begin = len(task.given)
        spans = [(begin + start, begin + end) for start, end in token_spans(pieces)]
        code = extract_code(answer.text)
        lines = lines_of_tokens(answer.text, code, spans)
        kept = executed_mask(code, answer.verdict.executed_lines, lines)
        mask_BL[row, : len(kept)] = torch.tensor(kept, dtype=torch.bool)
    return mask_BL


def process_rewards(
    sandbox: Sandbox, tasks: Sequence[Task], codes: Sequence[str | None]
) -> list[float]:
    """The share of each program's prefixes that run before the first failure."""
    programs = [
        prefix_programs(code or "", task.problem) for code, task in zip(codes, tasks, strict=True)
    ]
    verdicts = sandbox.run([program for parts in programs for program in parts])
    ends = pairwise(accumulate(map(len, programs), initial=0))
    return [
        process_reward(line_rewards(code or "", task.problem.entry_point, verdicts[start:end]))
        for code, task, (start, end) in zip(codes, tasks, ends, strict=True)
    ]
