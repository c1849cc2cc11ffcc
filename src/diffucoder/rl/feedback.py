"""Feedback finer than a verdict: which lines ran, and how far a program's prefixes run.

Shapes: B completions, L canvas positions.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.process import line_rewards, prefix_programs, process_reward
from diffucoder.rewards.spans import lines_of_tokens, token_spans
from diffucoder.rewards.stepcoder import executed_mask
from diffucoder.rl.groups import Group, ScoredCompletion
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Sandbox


def executed_tokens(
    groups: Sequence[Group], tokenizer: PreTrainedTokenizerBase, length: int
) -> Tensor:
    """Which tokens take part in the loss: bool `[B, L]`, false on lines that no test ran.

    Args:
        groups: B completions in groups, with verdicts that name the lines that ran.
        tokenizer: The model's tokenizer.
        length: L.
    """
    rows = [
        _executed_tokens(group.task, scored, tokenizer)
        for group in groups
        for scored in group.completions
    ]
    mask_BL = torch.ones(len(rows), length, dtype=torch.bool)
    for row, executed in enumerate(rows):
        mask_BL[row, : len(executed)] = torch.tensor(executed, dtype=torch.bool)
    return mask_BL


def _executed_tokens(
    task: Task, scored: ScoredCompletion, tokenizer: PreTrainedTokenizerBase
) -> list[bool]:
    """Whether each token of a completion takes part; empty where its lines are not known."""
    pieces = tokenizer.batch_decode(
        [[token] for token in scored.completion.tokens],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    if task.prefix_hint + "".join(pieces) != scored.text:
        return []  # a character is spread over tokens: where its lines begin is not known
    start = len(task.prefix_hint)
    spans = [(start + first, start + last) for first, last in token_spans(pieces)]
    code = extract_code(scored.text)
    lines = lines_of_tokens(scored.text, code, spans)
    return executed_mask(code, scored.verdict.executed_lines, lines)


def process_rewards(
    sandbox: Sandbox, tasks: Sequence[Task], codes: Sequence[str | None]
) -> list[float]:
    """The share of each program's prefixes that run before the first failure.

    Args:
        sandbox: Where the prefixes run.
        tasks: The task of each program.
        codes: The programs; None where a completion holds no code.
    """
    programs = [
        prefix_programs(code or "", task.problem) for code, task in zip(codes, tasks, strict=True)
    ]
    verdicts = sandbox.run([program for prefixes in programs for program in prefixes])
    ends = pairwise(accumulate(map(len, programs), initial=0))
    return [
        process_reward(line_rewards(code or "", task.problem.entry_point, verdicts[start:end]))
        for code, task, (start, end) in zip(codes, tasks, ends, strict=True)
    ]
