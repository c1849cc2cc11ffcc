"""StepCoder's curriculum of code completion (CCCS; arXiv 2402.01391, section 3.1).

Early stages write the beginning of a reference solution for the model, later stages write less of
it. For a diffusion model the subtask is plain infilling: the hint stands before the canvas.
"""

import ast
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from diffucoder.data.python_source import parse
from diffucoder.data.tokenizer import encode_texts
from diffucoder.errors import BadData
from diffucoder.rewards.stepcoder import statements
from diffucoder.rl.tasks import Task


@dataclass(frozen=True)
class Subtask:
    """A reference solution cut in two.

    Attributes:
        prefix: Its beginning, whole lines.
        completion: The rest, which the model writes.
    """

    prefix: str
    completion: str


def subtask(reference: str, stage: int, stages: int) -> Subtask:
    """The subtask of a stage: completing ever longer parts of a reference solution.

    The first stage asks for the last statement, each later one for more, the last for all of
    it. Cuts lie before statements, evenly spread over them (the paper cuts at conditional
    statements, of which short functions have few).

    Args:
        reference: Source of a solution.
        stage: Number of the stage, from 1.
        stages: Number of stages.

    Returns:
        The two parts, which together are `reference`.

    Raises:
        BadData: If the reference does not parse or is empty.
        ValueError: Unless 1 <= stage <= stages.
    """
    if not 1 <= stage <= stages:
        raise ValueError(f"stage must be from 1 to {stages}, got {stage}")
    tree = parse(reference)
    if not isinstance(tree, ast.Module) or not tree.body:
        raise BadData("a curriculum needs a reference solution that parses and is not empty")
    if stage == stages:
        return Subtask("", reference)
    cuts = sorted({first for first, _, _ in statements(tree)}, reverse=True)
    cut = cuts[round((stage - 1) * (len(cuts) - 1) / (stages - 1))] - 1
    lines = reference.splitlines(keepends=True)
    return Subtask("".join(lines[:cut]), "".join(lines[cut:]))


def next_stage(stage: int, stages: int, pass_rate: float, threshold: float) -> int:
    """The stage that follows: one further once completions pass at a rate of `threshold`.

    Args:
        stage: Number of the stage, from 1.
        stages: Number of stages.
        pass_rate: Share of the stage's completions that passed all tests.
        threshold: Share at which the next stage begins.
    """
    return min(stage + 1, stages) if pass_rate >= threshold else stage


def with_prefix_hint(
    task: Task, tokenizer: PreTrainedTokenizerBase, stage: int, stages: int, max_tokens: int
) -> Task:
    """The task with the beginning of its reference as the beginning of the answer.

    The hint stands before the canvas: every view of an estimator attends to it, none scores it.

    Args:
        task: The whole task.
        tokenizer: The model's tokenizer.
        stage: Number of the curriculum's stage, from 1; the last one gives no hint.
        stages: Number of stages.
        max_tokens: Most tokens of prompt and hint together. A task that needs more, or has no
            reference, is returned unchanged.

    Raises:
        BadData: If the reference does not parse.
    """
    if stage == stages or not task.problem.reference:
        return task
    hint = f"```python\n{subtask(task.problem.reference, stage, stages).prefix}"
    [tokens] = encode_texts(tokenizer, [hint])
    prompt_tokens = [*task.prompt_tokens, *tokens]
    if len(prompt_tokens) > max_tokens:
        return task
    return replace(task, prompt_tokens=prompt_tokens, prefix_hint=hint)
