"""The order in which problems are trained on."""

from collections.abc import Callable
from pathlib import Path

from helpers import rank_context

from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.rl.task_order import chosen_tasks, dynamic_sampling_tasks
from diffucoder.rl.tasks import Task

MakeTask = Callable[[int], Task]


def context(work: Path) -> Context:
    job = Job(stage="grpo", parameters={}, inputs={}, work=work, output=work / "model", seed=0)
    return rank_context(job)


def test_each_epoch_reads_every_problem_once_in_an_order_of_its_own(
    tmp_path: Path, make_task: MakeTask
) -> None:
    tasks = [make_task(n) for n in range(6)]
    here = context(tmp_path)
    steps = [
        [t.problem.problem_id for t in chosen_tasks(here, tasks, step, 4)] for step in range(3)
    ]
    read = [name for step in steps for name in step]
    assert sorted(read[:6]) == sorted(read[6:]) == [t.problem.problem_id for t in tasks]
    assert read[:6] != read[6:]


def test_spare_problems_are_drawn_anew_each_round(tmp_path: Path, make_task: MakeTask) -> None:
    tasks = [make_task(n) for n in range(6)]
    here = context(tmp_path)
    rounds = [
        [t.problem.problem_id for t in dynamic_sampling_tasks(here, tasks, step, 4, attempt)]
        for step in (0, 1)
        for attempt in (1, 2)
    ]
    assert all(len(set(names)) == 4 for names in rounds)
    assert len({tuple(names) for names in rounds}) == 4
    assert len(dynamic_sampling_tasks(here, tasks, 0, 9, 1)) == 9
