"""Rollouts: what is sampled and scored, with a real sandbox and a tiny model."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.rewards import RewardParams, RewardTerm
from diffucoder.data.tokenizer import encode_texts
from diffucoder.decoding import Generation, decode
from diffucoder.rewards.functions import RewardRecord
from diffucoder.rl.advantages import advantages, zero_variance
from diffucoder.rl.groups import Group, ScoredCompletion, group_rewards
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.tasks import Task

MakeTask = Callable[[int], Task]


def completions(groups: list[Group]) -> list[ScoredCompletion]:
    return [scored for group in groups for scored in group.completions]


def tokens(groups: list[Group]) -> list[list[int]]:
    return [scored.completion.tokens for scored in completions(groups)]


def test_completions_do_not_depend_on_how_tasks_are_spread_over_ranks(
    worker: RolloutWorker, model: PreTrainedModel, make_task: MakeTask
) -> None:
    size = worker.params.num_generations
    tasks = [make_task(n) for n in (1, 22)]
    both = worker.generate_rollouts(model.eval(), tasks, step=3, first_row=0).groups
    second = worker.generate_rollouts(model, tasks[1:], step=3, first_row=size).groups
    assert tokens(both[1:]) == tokens(second)
    other_step = worker.generate_rollouts(model, tasks, step=4, first_row=0).groups
    assert tokens(both) != tokens(other_step)


def test_advantages_are_rewards_less_the_mean_of_the_others(
    worker: RolloutWorker, model: PreTrainedModel, make_task: MakeTask
) -> None:
    own = RewardTerm(function="custom_reward.longer_is_better", weight=1.0)
    terms = worker.params.rewards.terms | {"length": own}
    rewards = worker.params.rewards.model_copy(update={"terms": terms})
    worker = replace(worker, params=worker.params.model_copy(update={"rewards": rewards}))
    tasks = [make_task(n) for n in (1, 2)]
    groups = worker.generate_rollouts(model.eval(), tasks, step=0, first_row=0).groups
    lengths = torch.tensor([float(len(scored.text)) for scored in completions(groups)]).view(2, -1)
    assert lengths.std(1).min() > 0
    advantages_PG = advantages(group_rewards(groups), "leave_one_out", scale_rewards=False)
    for row_G, found_G in zip(lengths, advantages_PG, strict=True):
        for g, value in enumerate(found_G):
            others = [reward.item() for h, reward in enumerate(row_G) if h != g]
            assert value.item() == pytest.approx(row_G[g].item() - sum(others) / len(others))


@pytest.mark.parametrize("drop", [False, True])
def test_scoring_passes_see_the_filler_that_the_sampler_saw(
    worker: RolloutWorker, model: PreTrainedModel, make_task: MakeTask, drop: bool
) -> None:
    def end_sometimes(module: nn.Module, args: tuple, output: Tensor) -> None:
        output[..., worker.special.turn_end] += 5

    options = {"drop_after_end": drop, "cache": "dual", "rule": "threshold", "threshold": 0.5}
    decoding = worker.params.decoding.model_copy(update=options)
    changed = replace(worker, params=worker.params.model_copy(update={"decoding": decoding}))
    hook = model.get_output_embeddings().register_forward_hook(end_sometimes)
    rollout = changed.generate_rollouts(model.eval(), [make_task(1)], step=0, first_row=0)
    batch = changed.batch(rollout.groups)
    hook.remove()
    assert not batch.completion_mask.all()
    assert torch.equal(
        batch.context_mask,
        batch.completion_mask if drop else torch.ones_like(batch.completion_mask),
    )


def prompt_and_length(record: RewardRecord) -> float:
    """Equal within every group of "add 1"; unequal in nearly all others."""
    return 0.0 if record.prompt == "add 1" else float(len(record.completion))


def test_groups_without_variance_are_replaced_by_those_of_spare_problems(
    worker: RolloutWorker,
    model: PreTrainedModel,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    own = {"function": f"{Path(__file__).stem}.prompt_and_length", "weight": 1.0}
    rewards = RewardParams.model_validate({"terms": {"own": own}})
    params = worker.params.model_copy(update={"rewards": rewards})
    worker = replace(worker, params=params)
    flat, good, spare = (make_task(n) for n in (1, 2, 333))
    model.eval()
    plain = worker.generate_rollouts(model, [flat, good], step=0, first_row=0).groups
    assert zero_variance(group_rewards(plain)).tolist() == [True, False]

    # The first round offers what is flat again, the second a problem with another prompt length.
    rounds = [[flat, flat], [spare, flat]]
    groups = worker.generate_rollouts(model, [flat, good], 0, 0, further_tasks=rounds).groups
    assert [group.task.problem.problem_id for group in groups] == ["p333", "p2"]
    rewards_PG = group_rewards(groups)
    assert not zero_variance(rewards_PG).any()
    assert advantages(rewards_PG, "leave_one_out", scale_rewards=False).any(1).all()
    assert tokens(groups[1:]) == tokens(plain[1:])
    batch, size = worker.batch(groups), worker.params.num_generations
    for row, own_tokens in enumerate(tokens(groups)):
        prompt = batch.prompt_ids[row][batch.prompt_mask[row]].tolist()
        assert prompt == groups[row // size].task.prompt_tokens
        assert batch.completion_ids[row][: len(own_tokens)].tolist() == own_tokens


def test_finer_feedback_reaches_rewards_and_loss(
    worker: RolloutWorker,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    make_task: MakeTask,
) -> None:
    # The answer stands there already, as a curriculum could have written it.
    hint = "```python\ndef f(x):\n    return x + 1\n```\n"
    [hint_tokens] = encode_texts(tokenizer, [hint])
    whole = make_task(1)
    prompt_tokens = [*whole.prompt_tokens, *hint_tokens]
    begun = replace(whole, prompt_tokens=prompt_tokens, prefix_hint=hint)
    changes = {"process_weight": 0.5, "executed_only": True}
    finer = replace(worker, params=worker.params.model_copy(update=changes))
    plain, shaped = (
        each.generate_rollouts(model.eval(), [begun], 0, 0).groups for each in (worker, finer)
    )
    assert tokens(plain) == tokens(shaped)
    for one, other in zip(completions(plain), completions(shaped), strict=True):
        assert one.text.startswith(hint)
        assert "process" not in one.parts and one.verdict.executed_lines is None
        assert other.parts["process"] == 1.0 and other.verdict.executed_lines == (1, 2)
        assert other.reward == pytest.approx(one.reward + 0.5)
    # What was written after the code is on none of its lines.
    assert torch.equal(finer.batch(shaped).completion_mask, worker.batch(plain).completion_mask)


def test_programs_run_while_the_next_batch_is_sampled(
    worker: RolloutWorker,
    model: PreTrainedModel,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judging = threading.Event()

    def watched(record: RewardRecord) -> float:
        judging.set()
        return 0.0

    def generating(*arguments: Any, **options: Any) -> Generation:
        if len(sampled) == 1:
            # The first batch's programs are judged before the second batch is sampled.
            assert judging.wait(timeout=30)
        sampled.append(1)
        return decode(*arguments, **options)

    sampled: list[int] = []
    monkeypatch.setattr("diffucoder.rl.rollouts.decode", generating)
    monkeypatch.setattr("diffucoder.rewards.functions.tests_passed", watched)
    tasks = [make_task(n) for n in (1, 2)]
    size = worker.params.num_generations
    params = worker.params.model_copy(update={"generation_batch": size})
    overlapped = replace(worker, params=params).generate_rollouts(model.eval(), tasks, 0, 0)
    assert len(sampled) == 2 and len(completions(overlapped.groups)) == 2 * size
