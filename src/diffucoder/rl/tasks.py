"""Problems as prompts in tokens: what a rollout starts from."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat
from diffucoder.errors import BadData


@dataclass(frozen=True)
class Task:
    """A problem with its prompt in tokens.

    Attributes:
        problem: The problem: prompt, reference and tests.
        prompt_tokens: The conversation up to the canvas, `prefix_hint` included.
        prefix_hint: Beginning of the answer that a curriculum writes for the model, or "".
    """

    problem: Problem
    prompt_tokens: list[int]
    prefix_hint: str = ""


def read_tasks(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    params: GrpoParams,
    max_positions: int,
    verbose: bool,
) -> dict[str, list[Task]]:
    """The problems of splits `rl` and `validation` as tasks, without those of too long a prompt.

    Args:
        path: The problem table.
        tokenizer: The model's tokenizer.
        params: The stage's parameters.
        max_positions: The model's context in tokens; prompt and canvas must fit into it.
        verbose: Whether to print how many problems were left out.

    Returns:
        Tasks by split; of `validation` the first `params.validation.problems`.

    Raises:
        BadData: If a split has no problem left.
    """
    canvas = max(params.decoding.max_new_tokens, params.validation.decoding.max_new_tokens)
    limit, reason = params.max_prompt_tokens, "grpo.max_prompt_tokens"
    if max_positions - canvas < limit:
        limit = max_positions - canvas
        reason = f"the model's context of {max_positions} less {canvas} to write"
    table = pd.read_parquet(path)
    tasks: dict[str, list[Task]] = {"rl": [], "validation": []}
    for record in table.to_dict("records"):
        try:
            tokens = encode_chat(tokenizer, record["prompt"])
        except BadData:  # the prompt holds a special token
            continue
        if len(tokens) <= limit:
            tasks[record["split"]].append(Task(Problem.from_record(record), tokens))
    left_out = len(table) - sum(map(len, tasks.values()))
    if left_out and verbose:
        print(
            f"grpo: {left_out} of {len(table)} problems have prompts of more than {limit} tokens "
            f"({reason}) or with a special token: left out",
            flush=True,
        )
    for split, found in tasks.items():
        if not found:
            raise BadData(
                f"grpo: no problem of split {split!r} has a prompt of at most {limit} tokens "
                f"({reason}); make room there, or add problems with shorter prompts"
            )
    return tasks | {"validation": tasks["validation"][: params.validation.problems]}
