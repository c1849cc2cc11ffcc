"""Rollouts: what is drawn, scored and recorded, with a real sandbox and a tiny model."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.config.rewards import RewardParams, RewardTerm
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, encode_texts, special_ids
from diffucoder.decoding import Generation, decode, trace
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import Reporter
from diffucoder.rewards.functions import RewardRecord
from diffucoder.rl.advantages import zero_variance
from diffucoder.rl.rollouts import Sampler, chosen_tasks, dynamic_sampling_tasks
from diffucoder.rl.tables import Rollouts
from diffucoder.rl.tasks import Task
from diffucoder.rl.update import _seeds
from diffucoder.sandbox import Sandbox

TESTS = ["assert f(1) == 2", "assert f(2) == 3"]


def context(work: Path, rank: int = 0, world_size: int = 1) -> Context:
    job = Job(stage="grpo", parameters={}, inputs={}, work=work, output=work / "model", seed=0)
    reporter = Reporter(work, rank=1)  # a rank other than 0 records nothing
    return Context(job, {}, rank, world_size, torch.device("cpu"), reporter)


@pytest.fixture
def params(parameters: Callable[..., dict[str, Any]]) -> GrpoParams:
    read = parameters("test", "grpo", work="unused")
    read["decoding"] = read["decoding"] | {"max_new_tokens": 12, "steps": 4}
    read["rewards"] = parameters("base", "grpo")["rewards"]
    return GrpoParams(**read)


@pytest.fixture
def sampler(
    tmp_path: Path, params: GrpoParams, tokenizer: PreTrainedTokenizerFast
) -> Iterator[Sampler]:
    with Sandbox(**params.sandbox.options()) as sandbox:
        yield Sampler(context(tmp_path), params, tokenizer, special_ids(tokenizer), sandbox)


def task(tokenizer: PreTrainedTokenizerFast, number: int) -> Task:
    problem = Problem(problem_id=f"p{number}", prompt=f"add {number}", entry_point="f", tests=TESTS)
    return Task(problem, encode_chat(tokenizer, problem.prompt))


def test_completions_do_not_depend_on_how_tasks_are_spread_over_ranks(
    sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    group = sampler.params.num_generations
    tasks = [task(tokenizer, n) for n in (1, 22)]
    both = sampler.generate_rollouts(model.eval(), tasks, step=3, first_row=0)
    second = sampler.generate_rollouts(model, tasks[1:], step=3, first_row=group)
    assert [s.tokens for s in both.scored[group:]] == [s.tokens for s in second.scored]
    other_step = sampler.generate_rollouts(model, tasks, step=4, first_row=0)
    assert [s.tokens for s in both.scored] != [s.tokens for s in other_step.scored]


def test_rollouts_are_recorded_in_their_schema(
    sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rollout = sampler.generate_rollouts(
        model.eval(), [task(tokenizer, n) for n in (1, 2)], step=0, first_row=0
    )
    rollout.write(tmp_path / "rollouts", step=1, rank=0)
    table = Rollouts.validate(pd.read_parquet(tmp_path / "rollouts"))
    assert len(table) == 2 * sampler.params.num_generations
    weights = {name: term.weight for name, term in sampler.params.rewards.terms.items()}
    parts = sum(weight * table[f"reward_{name}"] for name, weight in weights.items())
    assert table["reward"].tolist() == pytest.approx(parts.tolist())
    assert table.groupby("problem_id")["advantage"].sum().abs().max() < 1e-5


def test_advantages_are_rewards_less_the_mean_of_the_others(
    tmp_path: Path,
    params: GrpoParams,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    own = RewardTerm(function="test_stage.longer_is_better", weight=1.0)
    terms = params.rewards.terms | {"length": own}
    rewards = params.rewards.model_copy(update={"terms": terms})
    params = params.model_copy(update={"rewards": rewards})
    with Sandbox(**params.sandbox.options()) as sandbox:
        sampler = Sampler(context(tmp_path), params, tokenizer, special_ids(tokenizer), sandbox)
        tasks = [task(tokenizer, n) for n in (1, 2)]
        rollout = sampler.generate_rollouts(model.eval(), tasks, step=0, first_row=0)
    lengths = torch.tensor([float(len(s.text)) for s in rollout.scored]).view(2, -1)
    assert lengths.std(1).min() > 0
    for row_G, found_G in zip(lengths, rollout.advantages, strict=True):
        for g, value in enumerate(found_G):
            others = [reward.item() for h, reward in enumerate(row_G) if h != g]
            assert value.item() == pytest.approx(row_G[g].item() - sum(others) / len(others))


@pytest.mark.parametrize("drop", [False, True])
def test_scoring_passes_see_the_filler_that_the_sampler_saw(
    sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, drop: bool
) -> None:
    def end_sometimes(module: nn.Module, args: tuple, output: Tensor) -> None:
        output[..., sampler.special.turn_end] += 5

    options = {"drop_after_end": drop, "cache": "dual", "rule": "threshold", "threshold": 0.5}
    decoding = sampler.params.decoding.model_copy(update=options)
    changed = replace(sampler, params=sampler.params.model_copy(update={"decoding": decoding}))
    hook = model.get_output_embeddings().register_forward_hook(end_sometimes)
    batch = changed.generate_rollouts(model.eval(), [task(tokenizer, 1)], step=0, first_row=0).batch
    hook.remove()
    assert not batch.completion_mask.all()
    assert torch.equal(
        batch.context_mask,
        batch.completion_mask if drop else torch.ones_like(batch.completion_mask),
    )


def test_traces_of_rollouts_are_kept_on_request(
    sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tasks = [task(tokenizer, n) for n in (1, 2)]
    plain = sampler.generate_rollouts(model.eval(), tasks, step=0, first_row=0)
    plain.write_traces(tmp_path / "none", step=1, rank=0)
    assert not (tmp_path / "none").exists()
    wanting = replace(sampler, params=sampler.params.model_copy(update={"trace": 3}))
    rollout = wanting.generate_rollouts(model, tasks, step=0, first_row=0)
    rollout.write_traces(tmp_path, step=1, rank=0)
    traces = trace.read(tmp_path / "step-000001-0000.parquet")
    group = sampler.params.num_generations
    assert list(traces) == [f"p{n}/{number}" for n in (1, 2) for number in range(group)]
    assert torch.equal(plain.batch.completion_ids, rollout.batch.completion_ids)
    for row_L, found in zip(rollout.batch.completion_ids, traces.values(), strict=True):
        assert row_L[found.position].tolist() == found.token


def test_a_fenced_solution_earns_the_whole_reward(
    sampler: Sampler, tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = [
        "```python\ndef f(x):\n    return x + 1\n```",
        "```py\ndef f(x):\n    return 2\n```\nThis returns two.",
        "def f(x): return x + 1",
        "```python\nimport sys\nsys.exit(0)\n```",
    ]
    scored = sampler._score([task(tokenizer, 1)] * 4, texts, [[1]] * 4, trained_on=True)
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
    rows = torch.arange(4)
    seeds = [_seeds(here, step, iteration, rows) for step in (0, 1) for iteration in (0, 1)]
    flat = torch.cat(seeds).tolist()
    assert len(set(flat)) == len(flat)
    assert torch.equal(_seeds(here, 0, 1, rows[2:]), seeds[1][2:]), "a row names its own draws"


def prompt_and_length(record: RewardRecord) -> float:
    """Equal within every group of "add 1"; unequal in nearly all others."""
    return 0.0 if record.prompt == "add 1" else float(len(record.completion))


def test_groups_without_variance_are_replaced_by_those_of_spare_problems(
    sampler: Sampler,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    own = {"function": f"{Path(__file__).stem}.prompt_and_length", "weight": 1.0}
    rewards = RewardParams.model_validate({"terms": {"own": own}})
    params = sampler.params.model_copy(update={"rewards": rewards})
    sampler = replace(sampler, params=params)
    flat, good, spare = (task(tokenizer, n) for n in (1, 2, 333))
    model.eval()
    plain = sampler.generate_rollouts(model, [flat, good], step=0, first_row=0)
    assert zero_variance(plain.rewards).tolist() == [True, False]

    # The first round offers what is flat again, the second a problem with another prompt length.
    rounds = [[flat, flat], [spare, flat]]
    rollout = sampler.generate_rollouts(model, [flat, good], step=0, first_row=0, spares=rounds)
    assert [t.problem.problem_id for t in rollout.tasks] == ["p333", "p2"]
    assert not zero_variance(rollout.rewards).any() and rollout.advantages.any(1).all()
    size = sampler.params.num_generations
    assert [s.tokens for s in rollout.scored[size:]] == [s.tokens for s in plain.scored[size:]]
    for row, scored in enumerate(rollout.scored):
        prompt = rollout.batch.prompt_ids[row][rollout.batch.prompt_mask[row]].tolist()
        assert prompt == rollout.tasks[row // size].prompt_tokens
        written = rollout.batch.completion_ids[row][: len(scored.tokens)].tolist()
        assert written == scored.tokens


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
    sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    # The answer stands there already, as a curriculum could have written it.
    given = "```python\ndef f(x):\n    return x + 1\n```\n"
    [tokens] = encode_texts(tokenizer, [given])
    whole = task(tokenizer, 1)
    begun = replace(whole, prompt_tokens=[*whole.prompt_tokens, *tokens], given=given)
    changes = {"process_weight": 0.5, "executed_only": True}
    finer = replace(sampler, params=sampler.params.model_copy(update=changes))
    plain, shaped = (
        each.generate_rollouts(model.eval(), [begun], 0, 0) for each in (sampler, finer)
    )
    for one, other in zip(plain.scored, shaped.scored, strict=True):
        assert one.tokens == other.tokens and one.text.startswith(given)
        assert "process" not in one.parts and one.verdict.executed_lines is None
        assert other.parts["process"] == 1.0 and other.verdict.executed_lines == (1, 2)
        assert other.reward == pytest.approx(one.reward + 0.5)
    # What was written after the code is on none of its lines.
    assert torch.equal(shaped.batch.completion_mask, plain.batch.completion_mask)


def test_programs_run_while_the_next_batch_is_sampled(
    sampler: Sampler,
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
    size = sampler.params.num_generations
    params = sampler.params.model_copy(update={"generation_batch": size})
    overlapped = replace(sampler, params=params).generate_rollouts(model.eval(), tasks, 0, 0)
    assert len(sampled) == 2 and len(overlapped.scored) == 2 * size
