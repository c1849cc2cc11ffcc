"""Which problems a step trains on: epochs in shuffled order, and dynamic sampling."""

import torch

from diffucoder.data.epochs import Order, shuffled_epochs
from diffucoder.engine.context import Context
from diffucoder.rl.tasks import Task

# Namespace of these generators, apart from the (step, iteration, row) of the updates.
ORDER = -3


def chosen_tasks(context: Context, tasks: list[Task], step: int, prompts: int) -> list[Task]:
    """The problems of a step: consecutive parts of all problems, shuffled anew each epoch.

    Args:
        context: This rank.
        tasks: All problems.
        step: Number of the step, from 0.
        prompts: P, problems per step over all ranks.
    """

    def order_of(epoch: int) -> Order:
        generator = context.generator(ORDER, epoch)
        return torch.randperm(len(tasks), generator=generator).tolist().__getitem__

    positions = range(step * prompts, (step + 1) * prompts)
    return [tasks[index] for index in shuffled_epochs(len(tasks), positions, order_of)]


def dynamic_sampling_tasks(
    context: Context, tasks: list[Task], step: int, prompts: int, attempt: int
) -> list[Task]:
    """The problems of a further generation batch of a step (dynamic sampling, DAPO).

    Args:
        context: This rank.
        tasks: All problems.
        step: Number of the step, from 0.
        prompts: P, problems per step over all ranks.
        attempt: Number of the generation batch, from 1; batch 0 is `chosen_tasks`.
    """
    order = torch.randperm(len(tasks), generator=context.generator(ORDER, step, attempt))
    repeated = order.repeat(-(-prompts // len(tasks)))[:prompts]
    return [tasks[index] for index in repeated.tolist()]
