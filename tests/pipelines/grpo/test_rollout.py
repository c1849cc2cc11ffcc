"""Rollouts: what is drawn, scored and recorded, with a real sandbox and a tiny model."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import rank_context
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.config.rewards import RewardParams, RewardTerm
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, encode_texts, special_ids
from diffucoder.decoding import Completion, Generation, decode, trace
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.rewards.functions import RewardRecord
from diffucoder.rl.advantages import advantages, zero_variance
from diffucoder.rl.groups import Group, ScoredCompletion, group_rewards
from diffucoder.rl.rollout_io import write_rollouts, write_traces
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.scoring import score_completions
from diffucoder.rl.tables import Rollouts, read_rollouts
from diffucoder.rl.task_order import chosen_tasks, dynamic_sampling_tasks
from diffucoder.rl.tasks import Task
from diffucoder.rl.update import row_generators
from diffucoder.sandbox import Sandbox

TESTS = ["assert f(1) == 2", "assert f(2) == 3"]


def context(work: Path) -> Context:
    job = Job(stage="grpo", parameters={}, inputs={}, work=work, output=work / "model", seed=0)
    return rank_context(job)


def completions(groups: list[Group]) -> list[ScoredCompletion]:
    return [scored for group in groups for scored in group.completions]


def tokens(groups: list[Group]) -> list[list[int]]:
    return [scored.completion.tokens for scored in completions(groups)]


@pytest.fixture
def params(parameters: Callable[..., dict[str, Any]]) -> GrpoParams:
    read = parameters("test", "grpo", work="unused")
    read["decoding"] = read["decoding"] | {"max_new_tokens": 12, "steps": 4}
    read["rewards"] = parameters("base", "grpo")["rewards"]
    return GrpoParams(**read)


@pytest.fixture
def worker(
    tmp_path: Path, params: GrpoParams, tokenizer: PreTrainedTokenizerFast
) -> Iterator[RolloutWorker]:
    with Sandbox(**params.sandbox.options()) as sandbox:
        yield RolloutWorker(context(tmp_path), params, tokenizer, special_ids(tokenizer), sandbox)


def task(tokenizer: PreTrainedTokenizerFast, number: int) -> Task:
    problem = Problem(problem_id=f"p{number}", prompt=f"add {number}", entry_point="f", tests=TESTS)
    return Task(problem, encode_chat(tokenizer, problem.prompt))


def test_completions_do_not_depend_on_how_tasks_are_spread_over_ranks(
    worker: RolloutWorker, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    size = worker.params.num_generations
    tasks = [task(tokenizer, n) for n in (1, 22)]
    both = worker.generate_rollouts(model.eval(), tasks, step=3, first_row=0).groups
    second = worker.generate_rollouts(model, tasks[1:], step=3, first_row=size).groups
    assert tokens(both[1:]) == tokens(second)
    other_step = worker.generate_rollouts(model, tasks, step=4, first_row=0).groups
    assert tokens(both) != tokens(other_step)


def test_rollouts_are_recorded_in_their_schema(
    worker: RolloutWorker,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    tasks = [task(tokenizer, n) for n in (1, 2)]
    groups = worker.generate_rollouts(model.eval(), tasks, step=0, first_row=0).groups
    advantages_PG = advantages(group_rewards(groups), "leave_one_out", scale_rewards=False)
    write_rollouts(groups, advantages_PG, tmp_path, step=1, rank=0)
    table = Rollouts.validate(read_rollouts(tmp_path))
    assert len(table) == 2 * worker.params.num_generations
    weights = {name: term.weight for name, term in worker.params.rewards.terms.items()}
    parts = sum(weight * table[f"reward_{name}"] for name, weight in weights.items())
    assert table["reward"].tolist() == pytest.approx(parts.tolist())
    assert table.groupby("problem_id")["advantage"].sum().abs().max() < 1e-5


def test_advantages_are_rewards_less_the_mean_of_the_others(
    tmp_path: Path,
    params: GrpoParams,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    own = RewardTerm(function="own_reward.longer_is_better", weight=1.0)
    terms = params.rewards.terms | {"length": own}
    rewards = params.rewards.model_copy(update={"terms": terms})
    params = params.model_copy(update={"rewards": rewards})
    with Sandbox(**params.sandbox.options()) as sandbox:
        special = special_ids(tokenizer)
        worker = RolloutWorker(context(tmp_path), params, tokenizer, special, sandbox)
        tasks = [task(tokenizer, n) for n in (1, 2)]
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
    worker: RolloutWorker, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, drop: bool
) -> None:
    def end_sometimes(module: nn.Module, args: tuple, output: Tensor) -> None:
        output[..., worker.special.turn_end] += 5

    options = {"drop_after_end": drop, "cache": "dual", "rule": "threshold", "threshold": 0.5}
    decoding = worker.params.decoding.model_copy(update=options)
    changed = replace(worker, params=worker.params.model_copy(update={"decoding": decoding}))
    hook = model.get_output_embeddings().register_forward_hook(end_sometimes)
    rollout = changed.generate_rollouts(model.eval(), [task(tokenizer, 1)], step=0, first_row=0)
    batch = changed.batch(rollout.groups)
    hook.remove()
    assert not batch.completion_mask.all()
    assert torch.equal(
        batch.context_mask,
        batch.completion_mask if drop else torch.ones_like(batch.completion_mask),
    )


def test_traces_of_rollouts_are_kept_on_request(
    worker: RolloutWorker,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    tasks = [task(tokenizer, n) for n in (1, 2)]
    plain = worker.generate_rollouts(model.eval(), tasks, step=0, first_row=0).groups
    write_traces(plain, tmp_path / "none", step=1, rank=0)
    assert not (tmp_path / "none").exists()
    wanting = replace(worker, params=worker.params.model_copy(update={"trace": 3}))
    traced = wanting.generate_rollouts(model, tasks, step=0, first_row=0).groups
    write_traces(traced, tmp_path, step=1, rank=0)
    traces = trace.read(tmp_path / "traces" / "step-000001-0000.parquet")
    size = worker.params.num_generations
    assert list(traces) == [f"p{n}/{number}" for n in (1, 2) for number in range(size)]
    canvas_BL = wanting.batch(traced).completion_ids
    assert torch.equal(worker.batch(plain).completion_ids, canvas_BL)
    for row_L, found in zip(canvas_BL, traces.values(), strict=True):
        assert row_L[found.position].tolist() == found.token


def test_a_fenced_solution_earns_the_whole_reward(
    worker: RolloutWorker, tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = [
        "```python\ndef f(x):\n    return x + 1\n```",
        "```py\ndef f(x):\n    return 2\n```\nThis returns two.",
        "def f(x): return x + 1",
        "```python\nimport sys\nsys.exit(0)\n```",
    ]
    nothing = Completion([1], torch.tensor([1]), torch.tensor([0]), "end", None)
    tasks = [task(tokenizer, 1)] * 4
    scored = score_completions(
        tasks, [nothing] * 4, texts, worker.sandbox, worker.params, in_training=True
    )
    assert [s.reward for s in scored] == [2.5, 1.5, 0.0, 0.5]
    assert [s.verdict.status == "passed" for s in scored] == [True, False, False, False]


def test_each_epoch_reads_every_problem_once_in_an_order_of_its_own(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    tasks = [task(tokenizer, n) for n in range(6)]
    here = context(tmp_path)
    steps = [
        [t.problem.problem_id for t in chosen_tasks(here, tasks, step, 4)] for step in range(3)
    ]
    read = [name for step in steps for name in step]
    assert sorted(read[:6]) == sorted(read[6:]) == [t.problem.problem_id for t in tasks]
    assert read[:6] != read[6:]


def test_masks_are_fresh_in_every_inner_iteration(tmp_path: Path) -> None:
    # The released code draws the first micro-batch from seed 1 in every iteration.
    here = context(tmp_path)

    def seeds(step: int, iteration: int, rows: range) -> list[int]:
        drawn = row_generators(here, step, iteration, rows)
        return [generator.initial_seed() for generator in drawn]

    each = [seeds(step, iteration, range(4)) for step in (0, 1) for iteration in (0, 1)]
    assert len({seed for own in each for seed in own}) == 16
    assert seeds(0, 1, range(2, 4)) == each[1][2:], "a row names its own draws"


def prompt_and_length(record: RewardRecord) -> float:
    """Equal within every group of "add 1"; unequal in nearly all others."""
    return 0.0 if record.prompt == "add 1" else float(len(record.completion))


def test_groups_without_variance_are_replaced_by_those_of_spare_problems(
    worker: RolloutWorker,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    own = {"function": f"{Path(__file__).stem}.prompt_and_length", "weight": 1.0}
    rewards = RewardParams.model_validate({"terms": {"own": own}})
    params = worker.params.model_copy(update={"rewards": rewards})
    worker = replace(worker, params=params)
    flat, good, spare = (task(tokenizer, n) for n in (1, 2, 333))
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


def test_spare_problems_are_drawn_anew_each_round(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    tasks = [task(tokenizer, n) for n in range(6)]
    here = context(tmp_path)
    rounds = [
        [t.problem.problem_id for t in dynamic_sampling_tasks(here, tasks, step, 4, attempt)]
        for step in (0, 1)
        for attempt in (1, 2)
    ]
    assert all(len(set(names)) == 4 for names in rounds)
    assert len({tuple(names) for names in rounds}) == 4
    assert len(dynamic_sampling_tasks(here, tasks, 0, 9, 1)) == 9


def test_finer_feedback_reaches_rewards_and_loss(
    worker: RolloutWorker, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    # The answer stands there already, as a curriculum could have written it.
    hint = "```python\ndef f(x):\n    return x + 1\n```\n"
    [hint_tokens] = encode_texts(tokenizer, [hint])
    whole = task(tokenizer, 1)
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
    tokenizer: PreTrainedTokenizerFast,
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
    tasks = [task(tokenizer, n) for n in (1, 2)]
    size = worker.params.num_generations
    params = worker.params.model_copy(update={"generation_batch": size})
    overlapped = replace(worker, params=params).generate_rollouts(model.eval(), tasks, 0, 0)
    assert len(sampled) == 2 and len(completions(overlapped.groups)) == 2 * size
