from collections.abc import Callable

import pytest
import torch
from choices import estimator_of
from helpers import seeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.estimators.base import Estimator

MASK, END, PAD = 12, 10, 11


def coupled(**options: float) -> Estimator:
    return estimator_of("coupled", mask_token_id=MASK, **options)


def real_tokens(batch: CompletionBatch, row: int) -> tuple[list[int], list[int]]:
    prompt_Q, completion_L = batch.prompt_ids[row], batch.completion_ids[row]
    return (
        prompt_Q[batch.prompt_mask[row]].tolist(),
        completion_L[batch.completion_mask[row]].tolist(),
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=3),
    t=st.floats(0.2, 0.8),
    pairs=st.integers(1, 2),
    seed=st.integers(0, 2**32),
)
def test_equals_the_published_formula(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
    score_row: Callable[..., list[float]],
    lengths: list[tuple[int, int]],
    t: float,
    pairs: int,
    seed: int,
) -> None:
    prompts, completions = zip(*lengths, strict=True)
    batch = make_batch(list(prompts), list(completions), seed % 100)
    estimator = coupled(pairs=pairs, low=t, high=t)
    estimates = []
    draws = torch.Generator().manual_seed(seed)
    views = views_of(lambda: estimates.append(estimator.log_likelihood(model, batch, draws)))
    width = batch.prompt_ids.shape[1]
    for row in range(len(prompts)):
        prompt, completion = real_tokens(batch, row)
        expected = [0.0] * batch.completion_ids.shape[1]
        for index, view_BT in enumerate(views):
            noised = view_BT[row, width : width + len(completion)].tolist()
            hidden = [token == MASK for token in noised]
            # The full view comes first; then the two halves of each pair.
            weight = 1.0 if index == 0 else 1 / t if index % 2 == 1 else 1 / (1 - t)
            for place, score in enumerate(score_row(prompt, completion, hidden)):
                expected[place] += weight * score / (pairs + 1)
        torch.testing.assert_close(estimates[0][row], torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_by_hand(make_bigram: Callable[[Tensor], PreTrainedModel]) -> None:
    """A completion "A B" under a model that looks at one token, the one before.

    p(A | prompt) = 3/4, p(B | A) = 1/5, p(B | mask) = 1/2. At t = 1/4 the first view weighs 4,
    its complement 4/3, the full view 1; the estimate is half of the sum. So A earns
    log(3/4) * (4 + 1)/2 or log(3/4) * (4/3 + 1)/2, and B as below.
    """
    a, b, mask, prompt = range(4)
    bigram_VV = torch.full((4, 4), -50.0)
    for before, of_a in ((prompt, 3 / 4), (a, 4 / 5), (mask, 1 / 2)):
        bigram_VV[before, :2] = torch.tensor([of_a, 1 - of_a]).log()
    model = make_bigram(bigram_VV)
    tokens = {"prompt_ids": torch.tensor([[prompt]]), "completion_ids": torch.tensor([[a, b]])}
    rows = {name: ids.expand(64, -1) for name, ids in tokens.items()}
    real = {
        "prompt_mask": torch.ones(64, 1, dtype=torch.bool),
        "completion_mask": torch.ones(64, 2, dtype=torch.bool),
    }
    estimator = estimator_of("coupled", mask_token_id=mask, low=0.25, high=0.25)
    estimate_BL = estimator.log_likelihood(model, CompletionBatch(**rows, **real), seeded(0)[0])
    assert {tuple(round(score, 3) for score in row) for row in estimate_BL.tolist()} == {
        (-0.719, -1.733),  # both hidden in the first view
        (-0.719, -1.420),  # A in the first, B in the second
        (-0.336, -3.565),  # B in the first, A in the second
        (-0.336, -0.809),  # both in the second
    }


def test_views_are_the_full_mask_and_complementary_halves(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
) -> None:
    batch = make_batch([2, 4], [9, 5])
    views = views_of(lambda: coupled(pairs=2).log_likelihood(model, batch, seeded(1, 2)))
    hidden = [(view_BT == MASK)[:, 4:] & batch.completion_mask for view_BT in views]
    assert len(hidden) == 5
    assert torch.equal(hidden[0], batch.completion_mask)
    for first_BL, second_BL in (hidden[1:3], hidden[3:5]):
        assert torch.equal(first_BL ^ second_BL, batch.completion_mask)
    assert not torch.equal(hidden[1], hidden[3])
    for view_BT in views:
        assert torch.equal(view_BT[:, :4], batch.prompt_ids)


def test_each_row_has_a_time_of_its_own(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    # With an even prediction of log p = -log V everywhere, an estimate gives away its weight.
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    batch = make_batch([2] * 6, [40] * 6)
    estimate_BL = coupled().log_likelihood(model, batch, torch.Generator().manual_seed(0))
    weights_BL = -2 * estimate_BL / torch.tensor(13.0).log() - 1
    times = []
    for weights_L in weights_BL:
        low, high = weights_L.min().item(), weights_L.max().item()
        near = torch.isclose(weights_L, weights_L.min(), rtol=1e-4)
        near |= torch.isclose(weights_L, weights_L.max(), rtol=1e-4)
        assert near.all()
        # The weights are 1/t and 1/(1 - t).
        assert 1 / low + 1 / high == pytest.approx(1, rel=1e-4)
        assert 0.2 <= 1 / high <= 0.8
        times.append(1 / high)
    assert len({round(t, 4) for t in times}) == 6


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize(("left", "right"), [(3, 0), (0, 4), (2, 3)])
def test_padding_changes_nothing(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    pairs: int,
    left: int,
    right: int,
) -> None:
    estimator = coupled(pairs=pairs)
    plain = make_batch([2, 4, 3], [6, 3, 1])
    padded = make_batch([2, 4, 3], [6, 3, 1], left=left, right=right)
    expected_BL = estimator.log_likelihood(model, plain, seeded(1, 2, 3))
    estimate_BL = estimator.log_likelihood(model, padded, seeded(1, 2, 3))
    torch.testing.assert_close(estimate_BL[:, :6], expected_BL)
    assert not estimate_BL[:, 6:].any() and not expected_BL[~plain.completion_mask].any()


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_row_alone_is_scored_as_in_a_batch(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel, pairs: int
) -> None:
    estimator = coupled(pairs=pairs)
    prompts, completions = [2, 4, 3], [6, 3, 5]
    together_BL = estimator.log_likelihood(model, make_batch(prompts, completions), seeded(1, 2, 3))
    for row in range(3):
        batch = make_batch(prompts, completions).rows(slice(row, row + 1))
        (prompt, completion), length = real_tokens(batch, 0), completions[row]
        alone = CompletionBatch(
            torch.tensor([prompt]),
            torch.ones(1, len(prompt), dtype=torch.bool),
            torch.tensor([completion]),
            torch.ones(1, length, dtype=torch.bool),
        )
        alone_L = estimator.log_likelihood(model, alone, seeded(row + 1))[0]
        torch.testing.assert_close(together_BL[row, :length], alone_L)


def test_equal_generator_states_give_equal_masks_and_others_fresh_ones(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
) -> None:
    batch = make_batch([2, 4], [9, 7])

    def views(seed: int) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        return torch.stack(views_of(lambda: coupled().log_likelihood(model, batch, draws)))

    assert torch.equal(views(1), views(1))
    assert not torch.equal(views(1), views(2))


def test_one_generator_moves_on_from_call_to_call(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    batch, draws = make_batch([2, 4], [9, 7]), torch.Generator().manual_seed(0)
    first_BL, second_BL = (coupled().log_likelihood(model, batch, draws) for _ in range(2))
    assert not torch.equal(first_BL, second_BL)


def test_global_random_state_is_left_alone(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    before = torch.get_rng_state()
    coupled().log_likelihood(model, make_batch([2], [9]), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_come_from_tokens_on_both_sides(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
) -> None:
    batch = make_batch([3], [11])
    embedded: list[Tensor] = []

    def keep(module: torch.nn.Module, args: tuple, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    hook = model.get_input_embeddings().register_forward_hook(keep)
    estimates = []
    views = views_of(lambda: estimates.append(coupled().log_likelihood(model, batch, seeded(0))))
    hook.remove()
    token = 5
    estimates[0][0, token].backward()
    (half,) = [i for i in (1, 2) if views[i][0, 3 + token] == MASK]
    visible = [p for p in range(11) if views[half][0, 3 + p] != MASK]
    assert min(visible) < token < max(visible)
    for place in visible:
        assert embedded[half].grad[0, 3 + place].abs().max() > 1e-6
    assert (embedded[half].grad[0, :3].abs().amax(-1) > 1e-6).all()
    # The other half shows the token, and does not score it.
    assert embedded[3 - half].grad is None or not embedded[3 - half].grad.any()


def test_filler_is_noised_and_attended_and_never_scored(
    model: PreTrainedModel, views_of: Callable[..., list[Tensor]]
) -> None:
    canvas_BL = torch.tensor([[1, 2, END, PAD, PAD, PAD, PAD, PAD]])
    batch = from_canvas([[3, 4]], canvas_BL, END, PAD)
    estimates = []
    views = views_of(lambda: estimates.append(coupled().log_likelihood(model, batch, seeded(0))))
    assert (views[0][0, 2:] == MASK).all()
    assert torch.equal((views[1] == MASK)[0, 2:], (views[2] != MASK)[0, 2:])
    assert (views[1][0, 5:] == MASK).any() and (views[1][0, 5:] == PAD).any()
    assert estimates[0][0, :3].all() and not estimates[0][0, 3:].any()
    canvas_BL[0, 5:] = 7
    elsewhere = from_canvas([[3, 4]], canvas_BL, END, PAD)
    changed_BL = coupled().log_likelihood(model, elsewhere, seeded(0))
    assert not torch.allclose(changed_BL[0, :3], estimates[0][0, :3])


def test_without_a_canvas_filler_is_not_looked_at(
    make_batch: Callable[..., CompletionBatch],
    model: PreTrainedModel,
) -> None:
    batch = make_batch([2], [3], right=5)
    estimate_BL = coupled().log_likelihood(model, batch, seeded(0))
    batch.completion_ids[0, 3:] = 1
    torch.testing.assert_close(coupled().log_likelihood(model, batch, seeded(0)), estimate_BL)


def test_vocabulary_projection_runs_at_scored_tokens_alone(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    batch = make_batch([2, 9], [6, 3])
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: seen.append(len(output))
    )
    coupled(pairs=2).log_likelihood(model, batch, seeded(1, 2))
    hook.remove()
    real = int(batch.completion_mask.sum())
    assert seen[0] == seen[1] + seen[2] == seen[3] + seen[4] == real == 9


def test_half_precision_models_are_scored_in_float32(
    make_batch: Callable[..., CompletionBatch], make_model: Callable[..., PreTrainedModel]
) -> None:
    model = make_model(13, dtype=torch.bfloat16)
    batch = make_batch([2, 9], [6, 3])
    estimate_BL = coupled().log_likelihood(model, batch, seeded(1, 2))
    assert estimate_BL.dtype == torch.float32
    scores = estimate_BL[batch.completion_mask]
    assert not torch.equal(scores, scores.bfloat16().float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "pairs\n  Input should be greater than or equal to 1"),
        ({"low": 0.0}, "low\n  Input should be greater than 0"),
        ({"high": 1.0}, "high\n  Input should be less than 1"),
        ({"low": 0.6, "high": 0.4}, r"low \(0.6\) must not be above high \(0.4\)"),
        ({"lambda": 2}, "lambda\n  Extra inputs are not permitted"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        coupled(**options)
