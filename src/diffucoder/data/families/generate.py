"""Problems and instruction pairs made from the families of tasks."""

from collections.abc import Sequence
from random import Random
from typing import Any

from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families.parts import FAMILIES
from diffucoder.data.families.tasks import ENTRY_POINT, GeneratedTask, draw_tasks, every_task
from diffucoder.data.families.unit_tests import discriminating_tests
from diffucoder.data.problems import Problem

SOURCE = "families"


def generate(params: ProblemsParams, seed: int) -> list[Problem]:
    """Draw the problems of all splits; a composition is in one split only.

    Args:
        params: Shares of the families, and how many compositions each split gets.
        seed: Random seed.

    Returns:
        Problems in the order of the splits.

    Raises:
        BadParameters: If the families hold too few compositions.
    """
    random = Random(f"problems {seed}")
    tasks = draw_tasks(
        dict[str, float](params.families.items()), sum(params.counts.values()), random
    )
    splits = [split for split, count in params.counts.items() for _ in range(count)]
    return [
        _problem(task, split, params.tests_per_problem, Random(f"{seed} {task.composition}"))
        for task, split in zip(tasks, splits, strict=True)
    ]


def _problem(task: GeneratedTask, split: str, tests: int, random: Random) -> Problem:
    return Problem(
        problem_id=task.composition,
        source=SOURCE,
        split=split,
        composition=task.composition,
        prompt=task.prompt(random),
        entry_point=ENTRY_POINT,
        reference=task.code(),
        tests=discriminating_tests(task, tests, random),
    )


def instruction_pairs(
    problems: Sequence[Problem], params: ProblemsParams, seed: int
) -> list[dict[str, Any]]:
    """Prompt and response pairs for the compositions of the `sft` split.

    Each pair has a wording of its own. As in scraped instruction data, a share of the solutions
    is flawed: at each part that has a common mistake, a solution makes it with probability
    `params.mistake_share`. Supervised tuning learns to imitate these mistakes, which reinforcement
    learning against unit tests can correct.

    Args:
        problems: Problems of any split and source; only generated `sft` ones are used.
        params: The number of pairs per problem, and the share of mistakes.
        seed: Random seed.

    Returns:
        Rows with `pair_id`, `problem_id`, `composition`, `prompt`, `response`, `flawed`.
    """
    compositions = {p.composition for p in problems if p.split == "sft" and p.source == SOURCE}
    tasks = (task for family in FAMILIES.values() for task in every_task(family))
    rows = []
    for task in tasks:
        if task.composition not in compositions:
            continue
        random = Random(f"pairs {seed} {task.composition}")
        for index in range(params.pairs_per_problem):
            mistaken = [
                slot for slot in task.mistakable_slots() if random.random() < params.mistake_share
            ]
            rows.append(
                {
                    "pair_id": f"{task.composition}#{index}",
                    "problem_id": task.composition,
                    "composition": task.composition,
                    "prompt": task.prompt(random),
                    "response": f"```python\n{task.code(mistaken)}```",
                    "flawed": bool(mistaken),
                }
            )
    return rows
