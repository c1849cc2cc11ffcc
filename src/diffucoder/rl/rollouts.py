"""Rollouts: groups of sampled completions with their verdicts and rewards.

Shapes: P prompts, G completions per prompt, B = P * G completions, L canvas positions.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.config.decoding import DecodingParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding import Completion, Request, decode
from diffucoder.engine.context import Context
from diffucoder.rl.advantages import zero_variance
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.feedback import executed_tokens
from diffucoder.rl.groups import Group, ScoredCompletion, group_rewards
from diffucoder.rl.scoring import score_completions
from diffucoder.rl.tasks import Task
from diffucoder.sandbox import Sandbox

# Namespaces of the generators, apart from the (step, iteration, row) of the updates.
ROLLOUT, VALIDATION = -1, -2


@dataclass(frozen=True)
class Rollout:
    """A step's completions on this rank.

    Attributes:
        groups: P groups of G scored completions.
        reward_seconds: Time in which sampling waited for the sandbox.
    """

    groups: list[Group]
    reward_seconds: float


@dataclass(frozen=True)
class RolloutWorker:
    """Samples and scores completions on this rank.

    Attributes:
        context: This rank; names the generators.
        params: The stage's parameters.
        tokenizer: The model's tokenizer.
        special: Ids of the tokenizer's special tokens.
        sandbox: Where programs run.
    """

    context: Context
    params: GrpoParams
    tokenizer: PreTrainedTokenizerBase
    special: SpecialIds
    sandbox: Sandbox

    def generate_rollouts(
        self,
        model: PreTrainedModel,
        tasks: Sequence[Task],
        step: int,
        first_row: int,
        further_tasks: Sequence[Sequence[Task]] = (),
    ) -> Rollout:
        """Sample and score a group for each task.

        Groups whose rewards are all equal are replaced by groups of other tasks, one generation
        batch after the other (dynamic sampling, DAPO, arXiv 2503.14476); those that are still
        equal after the last batch stay.

        Args:
            model: The policy.
            tasks: This rank's P tasks.
            step: Number of the step, from 0; names the generators together with row and batch.
            first_row: Number of this rank's first completion among those of all ranks.
            further_tasks: For each further generation batch P tasks that may take the place of
                those in `tasks`.
        """
        groups, reward_seconds = self._generate_groups(
            model, tasks, step, first_row, range(len(tasks))
        )
        for attempt, others in enumerate(further_tasks, start=1):
            equal = zero_variance(group_rewards(groups)).nonzero()[:, 0].tolist()
            if not equal:
                break
            fresh, seconds = self._generate_groups(
                model, [others[index] for index in equal], step, first_row, equal, attempt
            )
            for index, group in zip(equal, fresh, strict=True):
                groups[index] = group
            reward_seconds += seconds
        return Rollout(groups, reward_seconds)

    def batch(self, groups: Sequence[Group]) -> CompletionBatch:
        """The completions of P groups as a batch of B rows on the CPU."""
        completions = [scored.completion for group in groups for scored in group.completions]
        batch = from_canvas(
            [group.task.prompt_tokens for group in groups for _ in group.completions],
            torch.stack([completion.canvas for completion in completions]),
            self.special.turn_end,
            self.special.pad,
            torch.stack([completion.reveal_step for completion in completions]),
        )
        if self.params.decoding.drop_after_end:
            # The sampler did not attend to filler either.
            batch = replace(batch, canvas_mask=None)
        if self.params.executed_only:
            length = batch.completion_ids.shape[1]
            executed_BL = executed_tokens(groups, self.tokenizer, length)
            batch = replace(batch, completion_mask=batch.completion_mask & executed_BL)
        return batch

    def validate(self, model: PreTrainedModel, tasks: Sequence[Task]) -> float:
        """Share of sampled completions that pass all tests, over all ranks.

        Args:
            model: The policy.
            tasks: The validation problems, the same on every rank.
        """
        options = self.params.validation
        mine = range(self.context.rank, len(tasks) * options.samples, self.context.world_size)
        repeated = [tasks[row % len(tasks)] for row in mine]
        generators = [self.context.generator(VALIDATION, row) for row in mine]
        completions, _ = self._generate_and_score(
            model, repeated, options.decoding, generators, in_training=False
        )
        passed = sum(scored.verdict.status == "passed" for scored in completions)
        total = self.context.sums(torch.tensor([passed, len(completions)]))
        return float(total[0] / total[1])

    def _generate_groups(
        self,
        model: PreTrainedModel,
        tasks: Sequence[Task],
        step: int,
        first_row: int,
        indices: Sequence[int],
        attempt: int = 0,
    ) -> tuple[list[Group], float]:
        """A group for each task, where `indices` are the groups' indices among this rank's."""
        size = self.params.num_generations
        repeated = [task for task in tasks for _ in range(size)]
        rows = [first_row + index * size + member for index in indices for member in range(size)]
        # Generation batches after the first have generators of their own.
        extra = (attempt,) if attempt else ()
        generators = [self.context.generator(step, ROLLOUT, row, *extra) for row in rows]
        completions, reward_seconds = self._generate_and_score(
            model, repeated, self.params.decoding, generators, in_training=True
        )
        groups = [
            Group(task, completions[index * size : (index + 1) * size])
            for index, task in enumerate(tasks)
        ]
        return groups, reward_seconds

    def _generate_and_score(
        self,
        model: PreTrainedModel,
        tasks: Sequence[Task],
        decoding: DecodingParams,
        generators: Sequence[torch.Generator],
        in_training: bool,
    ) -> tuple[list[ScoredCompletion], float]:
        """Sample in batches; the programs of one batch run while the next is sampled.

        Args:
            model: The policy.
            tasks: B tasks, repeated for the completions of a group.
            decoding: How completions are sampled.
            generators: A generator for each completion.
            in_training: Whether the completions are trained on, and so traced on request.

        Returns:
            Scored completions in the order of `tasks`, and the seconds in which nothing was
            sampled because verdicts were missing.
        """
        # Prompts of similar length together, so that little padding is computed.
        order = sorted(range(len(tasks)), key=lambda row: len(tasks[row].prompt_tokens))
        width = self.params.generation_batch
        with ThreadPoolExecutor(1) as judge:
            futures = []
            for start in range(0, len(order), width):
                rows = order[start : start + width]
                asked = [tasks[row] for row in rows]
                own = [generators[row] for row in rows]
                completions = self._sample(model, asked, decoding, own, in_training)
                texts = self.tokenizer.batch_decode(
                    [completion.tokens for completion in completions],
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
                futures.append(
                    judge.submit(
                        score_completions,
                        asked,
                        completions,
                        texts,
                        self.sandbox,
                        self.params,
                        in_training,
                    )
                )
            began = time.monotonic()
            scored = [each for future in futures for each in future.result()]
            reward_seconds = time.monotonic() - began
        by_row = dict(zip(order, scored, strict=True))
        return [by_row[row] for row in range(len(tasks))], reward_seconds

    def _sample(
        self,
        model: PreTrainedModel,
        tasks: Sequence[Task],
        decoding: DecodingParams,
        generators: Sequence[torch.Generator],
        in_training: bool,
    ) -> list[Completion]:
        canvas = [self.special.mask] * decoding.max_new_tokens
        requests = [
            Request(
                task.prompt_tokens,
                canvas,
                decoding,
                self.special.turn_end,
                generator,
                top_logprobs=self.params.trace if in_training else None,
            )
            for task, generator in zip(tasks, generators, strict=True)
        ]
        return decode(model, requests, self.special).rows
