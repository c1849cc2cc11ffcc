"""Verdicts and rewards of completions, with a real sandbox."""

from collections.abc import Callable

import torch

from diffucoder.decoding import Completion
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.scoring import score_completions
from diffucoder.rl.tasks import Task


def test_a_fenced_solution_earns_the_whole_reward(
    worker: RolloutWorker, make_task: Callable[[int], Task]
) -> None:
    texts = [
        "```python\ndef f(x):\n    return x + 1\n```",
        "```py\ndef f(x):\n    return 2\n```\nThis returns two.",
        "def f(x): return x + 1",
        "```python\nimport sys\nsys.exit(0)\n```",
    ]
    nothing = Completion([1], torch.tensor([1]), torch.tensor([0]), "end", None)
    tasks = [make_task(1)] * 4
    scored = score_completions(
        tasks, [nothing] * 4, texts, worker.sandbox, worker.params, in_training=True
    )
    assert [s.reward for s in scored] == [2.5, 1.5, 0.0, 0.5]
    assert [s.verdict.status == "passed" for s in scored] == [True, False, False, False]
