"""Sampling completions, running their tests, and what they earn.

Shapes: P prompts, G completions a prompt, B = P * G completions, L canvas positions.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.data.epochs import Order, shuffled_epochs
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding import Completion, Request, decode, trace
from diffucoder.engine.context import Context
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.functions import RewardRecord, score
from diffucoder.rl.advantages import advantages, zero_variance
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.feedback import executed_tokens, process_rewards
from diffucoder.rl.tasks import Scored, Task
from diffucoder.sandbox import Sandbox

# Namespaces of draws, apart from the optimizer's own (step, iteration, row).
ROLLOUT, VALIDATION, ORDER = -1, -2, -3


@dataclass(frozen=True)
class Groups:
    """Scored groups of completions, those of a task together.

    Attributes:
        tasks: P problems.
        made: B completions as the sampler left them.
        scored: the same completions, and what became of them.
        reward_seconds: time in which sampling and updates waited for the sandbox.
    """

    tasks: list[Task]
    made: list[Completion]
    scored: list[Scored]
    reward_seconds: float

    @property
    def size(self) -> int:
        """G, completions a task."""
        return len(self.scored) // len(self.tasks)

    @property
    def rewards(self) -> Tensor:
        """Rewards: float32 `[P, G]`."""
        return torch.tensor([s.reward for s in self.scored]).view(len(self.tasks), -1)

    def replaced(self, places: Sequence[int], others: "Groups") -> "Groups":
        """These groups with those at `places` replaced by the others, in their order."""
        tasks, made, scored = list(self.tasks), list(self.made), list(self.scored)
        for index, place in enumerate(places):
            own = slice(place * self.size, (place + 1) * self.size)
            new = slice(index * self.size, (index + 1) * self.size)
            tasks[place], made[own], scored[own] = (
                others.tasks[index],
                others.made[new],
                others.scored[new],
            )
        return Groups(tasks, made, scored, self.reward_seconds + others.reward_seconds)


@dataclass(frozen=True)
class Rollout:
    """One step's completions on this rank.

    Attributes:
        tasks: P problems.
        scored: B completions, those of a problem together.
        batch: the completions as tensors.
        advantages: advantages `[P, G]`.
        rewards: rewards `[P, G]`.
        reward_seconds: time in which sampling and updates waited for the sandbox.
        traces: of the completions, if asked for.
    """

    tasks: list[Task]
    scored: list[Scored]
    batch: CompletionBatch
    advantages: Tensor
    rewards: Tensor
    reward_seconds: float
    traces: list[trace.Trace]

    def metrics(self, context: Context) -> dict[str, float]:
        """Means over the completions of all ranks; every rank calls it."""
        parts = sorted(self.scored[0].parts)
        rows = [
            [s.reward, s.verdict.status == "passed", s.verdict.pass_rate, len(s.tokens)]
            + [s.parts[part] for part in parts]
            for s in self.scored
        ]
        names = ["reward/total", "pass_rate", "test_pass_rate", "completion_length"]
        names += [f"reward/{part}" for part in parts]
        sums = context.sums(torch.tensor([[float(v) for v in row] + [1.0] for row in rows]).sum(0))
        flat = zero_variance(self.rewards)
        groups = context.sums(torch.tensor([float(flat.sum()), float(len(flat))]))
        means = dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))
        return means | {"frac_reward_zero_std": float(groups[0] / groups[1])}

    def write(self, folder: Path, step: int, rank: int) -> None:
        """Write the rollouts as a Parquet file of their own."""
        group = self.rewards.shape[1]
        advantages = self.advantages.flatten().tolist()
        rows = [
            {
                "step": step,
                "problem_id": self.tasks[index // group].problem_id,
                "prompt": self.tasks[index // group].prompt,
                "completion": scored.text,
                "reward": scored.reward,
                **{f"reward_{name}": value for name, value in scored.parts.items()},
                "status": scored.verdict.status,
                "pass_rate": scored.verdict.pass_rate,
                "advantage": advantages[index],
                "length": len(scored.tokens),
            }
            for index, scored in enumerate(self.scored)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / f"step-{step:06d}-{rank:04d}.parquet", index=False)

    def write_traces(self, folder: Path, step: int, rank: int) -> None:
        """Write the traces, named problem/number, as a Parquet file of their own, if any."""
        if not self.traces:
            return
        group = self.rewards.shape[1]
        ids = [task.problem.problem_id for task in self.tasks]
        names = [f"{problem_id}/{number}" for problem_id in ids for number in range(group)]
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"step-{step:06d}-{rank:04d}.parquet"
        trace.write(dict(zip(names, self.traces, strict=True)), file)


def step_of(part: Path) -> int:
    """The step of a file that `Rollout.write` wrote."""
    return int(part.stem.split("-")[1])


@dataclass(frozen=True)
class Sampler:
    """What is needed to sample and score on this rank."""

    context: Context
    params: GrpoParams
    tokenizer: Any
    special: SpecialIds
    sandbox: Sandbox

    def generate_rollouts(
        self,
        model: nn.Module,
        tasks: list[Task],
        step: int,
        first_row: int,
        spares: Sequence[list[Task]] = (),
    ) -> Rollout:
        """Sample a group for each task and score it.

        Groups that earn one reward throughout are replaced by those of spare tasks, round by
        round (dynamic sampling, DAPO, arXiv 2503.14476); those that still do stay.

        Args:
            model: the policy.
            tasks: this rank's P problems.
            step: number of the step, which names the draws together with row and round.
            first_row: number of this rank's first completion among those of all ranks.
            spares: for each round, P problems to take the place of tasks.
        """
        groups = self._groups(model, tasks, step, first_row, range(len(tasks)))
        for attempt, spare in enumerate(spares, start=1):
            flat = zero_variance(groups.rewards).nonzero()[:, 0].tolist()
            if not flat:
                break
            others = [spare[place] for place in flat]
            fresh = self._groups(model, others, step, first_row, flat, attempt)
            groups = groups.replaced(flat, fresh)
        batch = from_canvas(
            [task.prompt_tokens for task in groups.tasks for _ in range(groups.size)],
            torch.stack([completion.canvas for completion in groups.made]),
            self.special.turn_end,
            self.special.pad,
            torch.stack([completion.reveal_step for completion in groups.made]),
        )
        if self.params.decoding.drop_after_end:
            # The sampler looked at no filler either.
            batch = replace(batch, canvas_mask=None)
        if self.params.executed_only:
            repeated = [task for task in groups.tasks for _ in range(groups.size)]
            length = batch.completion_ids.shape[1]
            ran_BL = executed_tokens(repeated, groups.scored, self.tokenizer, length)
            batch = replace(batch, completion_mask=batch.completion_mask & ran_BL)
        options = self.params.advantages
        return Rollout(
            groups.tasks,
            groups.scored,
            batch,
            advantages(groups.rewards, options.baseline, options.scale_rewards),
            groups.rewards,
            groups.reward_seconds,
            [completion.trace for completion in groups.made if completion.trace is not None],
        )

    def _groups(
        self,
        model: nn.Module,
        tasks: list[Task],
        step: int,
        first_row: int,
        places: Sequence[int],
        attempt: int = 0,
    ) -> Groups:
        """A group for each task; `places` are the tasks' places among this rank's."""
        size = self.params.num_generations
        repeated = [task for task in tasks for _ in range(size)]
        rows = [first_row + place * size + member for place in places for member in range(size)]
        # Rounds after the first have draws of their own.
        extra = (attempt,) if attempt else ()
        streams = [self.context.generator(step, ROLLOUT, row, *extra) for row in rows]
        made, scored, waited = self._answer(
            model,
            repeated,
            self.params.decoding,
            streams,
            trained_on=True,
            alternatives=self.params.trace,
        )
        return Groups(tasks, made, scored, waited)

    def validate(self, model: nn.Module, tasks: list[Task]) -> float:
        """Share of sampled completions that pass all tests, over all ranks."""
        options = self.params.validation
        mine = range(self.context.rank, len(tasks) * options.samples, self.context.world_size)
        repeated = [tasks[row % len(tasks)] for row in mine]
        streams = [self.context.generator(VALIDATION, row) for row in mine]
        _, scored, _ = self._answer(model, repeated, options.decoding, streams, trained_on=False)
        passed = sum(s.verdict.status == "passed" for s in scored)
        total = self.context.sums(torch.tensor([passed, len(scored)]))
        return float(total[0] / total[1])

    def _answer(
        self,
        model: nn.Module,
        tasks: list[Task],
        decoding: DecodingParams,
        streams: list[torch.Generator],
        trained_on: bool,
        alternatives: int | None = None,
    ) -> tuple[list[Completion], list[Scored], float]:
        """Sample in batches; programs of one batch run while the next is sampled.

        Returns:
            In the order of `tasks` what the sampler wrote and what became of it; and the seconds
            in which nothing was sampled because verdicts were missing.
        """
        canvas = [self.special.mask] * decoding.max_new_tokens
        made: dict[int, Completion] = {}
        scored: dict[int, Scored] = {}
        # Prompts of like length together, so that little padding is computed.
        order = sorted(range(len(tasks)), key=lambda row: len(tasks[row].prompt_tokens))
        size = self.params.generation_batch
        with ThreadPoolExecutor(1) as judge:
            pending = []
            for at in range(0, len(order), size):
                rows = order[at : at + size]
                requests = [
                    Request(
                        tasks[row].prompt_tokens,
                        canvas,
                        decoding,
                        self.special.turn_end,
                        streams[row],
                        alternatives=alternatives,
                    )
                    for row in rows
                ]
                found = decode(model, requests, self.special.mask, self.special.pad)
                made |= zip(rows, found.rows, strict=True)
                texts = self.tokenizer.batch_decode(
                    found.completions,
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
                asked = [tasks[row] for row in rows]
                future = judge.submit(self._score, asked, texts, found.completions, trained_on)
                pending.append((rows, future))
            began = time.monotonic()
            for rows, future in pending:
                scored |= zip(rows, future.result(), strict=True)
            waited = time.monotonic() - began
        places = range(len(tasks))
        return [made[row] for row in places], [scored[row] for row in places], waited

    def _score(
        self,
        tasks: Sequence[Task],
        texts: Sequence[str],
        tokens: Sequence[list[int]],
        trained_on: bool,
    ) -> list[Scored]:
        texts = [task.given + text for task, text in zip(tasks, texts, strict=True)]
        codes = [extract_code(text) for text in texts]
        programs = [
            task.problem.program(code or "") for code, task in zip(codes, tasks, strict=True)
        ]
        traced = trained_on and self.params.executed_only
        verdicts = self.sandbox.run(programs, executed_lines=traced)
        records = [
            RewardRecord(task.problem.prompt, text, code, verdict)
            for task, text, code, verdict in zip(tasks, texts, codes, verdicts, strict=True)
        ]
        totals, parts = score(records, self.params.rewards)
        if trained_on and self.params.process_weight > 0:
            shares = process_rewards(self.sandbox, tasks, codes)
            totals = [
                total + self.params.process_weight * share
                for total, share in zip(totals, shares, strict=True)
            ]
            parts = [part | {"process": share} for part, share in zip(parts, shares, strict=True)]
        return [Scored(*row) for row in zip(tokens, texts, verdicts, totals, parts, strict=True)]


def chosen_tasks(context: Context, tasks: list[Task], step: int, prompts: int) -> list[Task]:
    """The problems of a step: an endless reading of all, shuffled anew each epoch."""

    def order_of(epoch: int) -> Order:
        generator = context.generator(ORDER, epoch)
        return torch.randperm(len(tasks), generator=generator).tolist().__getitem__

    positions = range(step * prompts, (step + 1) * prompts)
    return [tasks[index] for index in shuffled_epochs(len(tasks), positions, order_of)]


def dynamic_sampling_tasks(
    context: Context, tasks: list[Task], step: int, prompts: int, attempt: int
) -> list[Task]:
    """As many problems for a round of resampling, drawn apart from the reading of all."""
    order = torch.randperm(len(tasks), generator=context.generator(ORDER, step, attempt))
    return [tasks[place] for place in order.repeat(-(-prompts // len(tasks)))[:prompts].tolist()]
