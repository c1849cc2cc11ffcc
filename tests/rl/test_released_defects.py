"""What the released coupled-GRPO code does wrong, and this project must not: a test for each."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from choices import estimator_of
from helpers import rank_context, seeded
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.diffusion.corruption import coupled_masks
from diffucoder.diffusion.generators import uniform
from diffucoder.engine.job import Job
from diffucoder.model.projection import aligned_states, token_log_probs
from diffucoder.rewards.extract import format_reward
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.objectives.grpo import clipped_loss
from diffucoder.rl.update import row_generators
from diffucoder.sandbox import Program, Sandbox

MASK = 12
Batches = Callable[..., CompletionBatch]


def test_defect_01_each_inner_iteration_has_masks_of_its_own_whatever_the_accumulation(
    make_batch: Batches, model: PreTrainedModel, tmp_path: Path
) -> None:
    """There: the index is read after the step counter moved, so micro-batch 1 never changes."""
    job = Job(stage="grpo", parameters={}, inputs={}, work=tmp_path, output=tmp_path, seed=0)
    context = rank_context(job)
    batch, estimator = make_batch([2] * 4, [12] * 4), estimator_of("coupled", mask_token_id=MASK)

    def masks(iteration: int, micro_batch: int) -> Tensor:
        parts = []
        for rows_B in torch.arange(4).split(micro_batch):
            draws = row_generators(context, 0, iteration, rows_B.tolist())
            views = list(estimator.views(batch.rows(rows_B), draws))
            parts.append(views[1].masked)
        return torch.cat(parts)

    first_BL, second_BL = masks(0, 4), masks(1, 4)
    assert (first_BL != second_BL).any(1).all()
    for micro_batch in (1, 2):
        assert torch.equal(masks(0, micro_batch), first_BL)
        assert torch.equal(masks(1, micro_batch), second_BL)


def test_defect_02_no_draw_touches_a_global_generator(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    """There: each draw seeds Python, NumPy and PyTorch from one of 4096 numbers."""

    def states() -> tuple[object, list[int], list[int]]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    estimator_of("coupled", mask_token_id=MASK).log_likelihood(
        model, make_batch([2], [9]), seeded(7)
    )
    assert states() == before
    many = [uniform(1, 4, torch.Generator().manual_seed(seed)) for seed in range(5000)]
    assert len({tuple(row[0].tolist()) for row in many}) == 5000


def test_defect_03_kl_and_clip_share_are_means_over_tokens() -> None:
    """There: the logged KL grows with the batch through broadcasting; clip metrics mix rows."""
    old_BL = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]])
    mask_BL = torch.tensor([[True, True], [True, False]])
    new_BL = old_BL + torch.tensor([[0.5, 0.0], [0.5, 9.0]])
    advantages_B = torch.tensor([1.0, -1.0])
    for times in (1, 2, 7):
        new, old, mask = (x.repeat(times, 1) for x in (new_BL, old_BL, mask_BL))
        _, metrics = clipped_loss(
            new, old, advantages_B.repeat(times), mask, 0.2, 1.0, ref_BL=old, beta=0.1
        )
        # Of three real tokens only the first is clipped: the third has A < 0 and a high ratio.
        assert metrics["clip_ratio"].item() == pytest.approx(1 / 3)
        k3 = float(np.exp(-0.5)) + 0.5 - 1
        assert metrics["kl"].item() == pytest.approx(2 * k3 / 3, rel=1e-5)


def test_defect_04_a_tie_is_hidden_in_exactly_one_view() -> None:
    """There: a position whose draw equals the ratio is hidden in neither view."""
    drawn_BL = uniform(3, 5, torch.Generator().manual_seed(0))
    for place in range(5):
        first_BL, second_BL = coupled_masks(
            torch.ones(3, 5, dtype=torch.bool),
            drawn_BL[:, place],
            torch.Generator().manual_seed(0),
        )
        assert (first_BL ^ second_BL).all()


def test_defect_05_leaving_is_no_pass_and_one_hanging_test_no_total_failure() -> None:
    """There: `sys.exit(0)` earns everything, and one time-out takes everything away."""
    leaves = "import sys\nsys.exit(0)\ndef f(x): return x"
    hangs = "def f(x):\n    while x == 2: pass\n    return x"
    tests = [f"assert f({x}) == {x}" for x in (1, 2, 3, 4)]
    with Sandbox(workers=1, wall_s=0.5, cpu_s=10.0, max_timeouts=None) as sandbox:
        left, hung = sandbox.run([Program(leaves, tests, "f"), Program(hangs, tests, "f")])
    assert left.pass_rate == 0 and left.status != "passed"
    assert hung.status == "timeout" and hung.passed == (True, False, True, True)


def test_defect_06_scoring_sees_no_padding(make_batch: Batches, model: PreTrainedModel) -> None:
    """There: scoring passes get no attention mask, so unequal prompts see each other's padding."""
    estimator = estimator_of("coupled", mask_token_id=MASK)
    batch = make_batch([1, 7], [5, 5])
    together_BL = estimator.log_likelihood(model, batch, seeded(1, 2))
    alone = CompletionBatch(
        batch.prompt_ids[:1, -1:],
        batch.prompt_mask[:1, -1:],
        batch.completion_ids[:1],
        batch.completion_mask[:1],
    )
    alone_BL = estimator.log_likelihood(model, alone, seeded(1))
    torch.testing.assert_close(together_BL[:1], alone_BL)


@pytest.mark.parametrize(
    "completion",
    [
        "```python\nx = 1\n```",
        "```py\nx = 1\n```\n",
        "Here you are:\n```python\nx = 1\n```\nThat sets x.",
        "```python\r\nx = 1\r\n```   ",
    ],
)
def test_defect_07_format_does_not_hang_on_line_breaks_and_prose(completion: str) -> None:
    """There: a `py` fence, prose after the block or a missing last line break score 0."""
    assert format_reward(completion) == 1.0


def test_defect_08_the_vocabulary_is_projected_on_at_scored_tokens_alone(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    """There: all three views are projected over prompt and completion."""
    batch, rows = make_batch([9, 30], [6, 3]), []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: rows.append(output.shape[:-1].numel())
    )
    estimator_of("coupled", mask_token_id=MASK).log_likelihood(model, batch, seeded(1, 2))
    hook.remove()
    real = int(batch.completion_mask.sum())
    assert sum(rows) == 2 * real, "once under the full mask, once in one half or the other"


def test_defect_09_a_penalty_works_in_the_first_iteration_and_softmax_is_in_float32(
    make_batch: Batches, make_model: Callable[..., PreTrainedModel]
) -> None:
    """There: beta > 0 with one inner iteration crashes; bf16 logits are normalised in bf16."""
    new_BL = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    mask_BL = torch.ones(1, 2, dtype=torch.bool)
    ref_BL = torch.tensor([[-1.5, -2.0]])
    loss, metrics = clipped_loss(
        new_BL, new_BL.detach(), torch.ones(1), mask_BL, 0.5, 2.0, ref_BL, beta=0.1
    )
    loss.backward()
    assert metrics["kl"] > 0 and new_BL.grad.isfinite().all()

    model = make_model(13, dtype=torch.bfloat16)
    tokens_BL = make_batch([2], [20]).completion_ids
    scores_N = token_log_probs(model, aligned_states(model, tokens_BL)[0], tokens_BL[0])
    with torch.no_grad():
        logits_BLV = model(tokens_BL).logits
    aligned_BLV = torch.cat([logits_BLV[:, :1], logits_BLV[:, :-1]], 1)
    exact_BL = aligned_BLV.double().log_softmax(-1).gather(-1, tokens_BL[..., None])[..., 0]
    torch.testing.assert_close(scores_N.double(), exact_BL[0], rtol=1e-5, atol=1e-5)


def test_defect_10_each_row_has_a_time_of_its_own(make_batch: Batches) -> None:
    """There: one mask ratio is shared by the whole batch."""
    estimator = estimator_of("coupled", mask_token_id=MASK, pairs=2)
    views = list(estimator.views(make_batch([2] * 50, [4] * 50), torch.Generator()))
    for first, second in (views[1:3], views[3:5]):
        assert len(set(first.probability.tolist())) == 50
        torch.testing.assert_close(first.probability + second.probability, torch.ones(50))
        assert 0.2 <= first.probability.min() < 0.3 and 0.7 < first.probability.max() <= 0.8
    assert not torch.equal(views[1].probability, views[3].probability)
