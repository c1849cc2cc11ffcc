"""Holes between given texts."""

import math
from collections.abc import Callable

import pytest
import torch
from tiny_vocabulary import END, MASK, PAD, SPECIAL
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding.infilling import Filling, fill
from diffucoder.errors import BadData

CONFIG = DecodingParams(rule="maskgit_plus", max_new_tokens=8, steps=8, eps=0.0)


def run(model: PreTrainedModel, parts: list, lengths: list, **options: object) -> list[Filling]:
    config = CONFIG.model_copy(update=options)
    return fill(model, parts, lengths, config, SPECIAL, torch.Generator().manual_seed(0))


def test_a_hole_is_filled_with_both_sides_seen(model: PreTrainedModel) -> None:
    """One mask: the distribution is that of a forward pass over the text, shifted by one."""
    (filling,) = run(model, [[1, 2, 3], [4, 5]], [[1]])
    with torch.no_grad():
        logits_V = model(torch.tensor([[1, 2, 3, MASK, 4, 5]])).logits[0, 2]
    logits_V[[MASK, END, PAD]] = -torch.inf
    assert filling.holes == [[int(logits_V.argmax())]]
    assert filling.score == pytest.approx(float(logits_V.log_softmax(0).max()), rel=1e-5)
    others = {tuple(run(model, [[1, 2, 3], [4, other]], [[1]])[0].holes[0]) for other in range(10)}
    assert len(others) > 1


@pytest.mark.parametrize("options", [{}, {"block_length": 4, "cache": "dual"}], ids=str)
def test_given_parts_stay_and_holes_have_their_lengths(
    model: PreTrainedModel, options: dict
) -> None:
    (filling,) = run(model, [[1, 2], [3], [4, 5]], [[4], [3]], **options)
    first, second = filling.holes
    assert (len(first), len(second)) == filling.lengths == (4, 3)
    assert filling.completion.canvas.tolist() == [*first, 3, *second, 4, 5]
    given = [4, 8, 9]
    assert (filling.completion.reveal_step[given] == -1).all()


@pytest.mark.parametrize("token", [MASK, END, PAD])
def test_no_end_is_written_before_given_text(
    biased: Callable[[int], PreTrainedModel], token: int
) -> None:
    (filling,) = run(biased(token), [[1], [2], [3]], [[3], [2]], temperature=1.0)
    assert not {MASK, END, PAD} & {token for hole in filling.holes for token in hole}


def test_the_last_hole_may_end_when_nothing_follows(
    biased: Callable[[int], PreTrainedModel],
) -> None:
    (filling,) = run(biased(END), [[1], [2], []], [[3], [4]])
    assert END not in filling.holes[0] and len(filling.holes[0]) == 3
    assert filling.holes[1] == [END]


def test_the_likeliest_length_is_found(model: PreTrainedModel) -> None:
    found = run(model, [[1, 2], [3], [4]], [[1, 2, 5], [2, 3]])
    assert len(found) == 6
    assert [filling.score for filling in found] == sorted((f.score for f in found), reverse=True)
    for filling in found:
        (alone,) = run(model, [[1, 2], [3], [4]], [[length] for length in filling.lengths])
        assert alone.holes == filling.holes
        assert alone.score == pytest.approx(filling.score)
        told = filling.completion.trace
        assert told is not None
        assert filling.score == pytest.approx(
            sum(map(math.log, told.probability)) / len(told.token)
        )


@pytest.mark.parametrize(
    ("parts", "lengths", "message"),
    [
        ([[1], [2]], [], "got 2 parts and lengths for 0 holes"),
        ([[1], [2]], [[1], [2]], "got 2 parts and lengths for 2 holes"),
        ([[1], [2]], [[]], r"hole 0: got the lengths \[\]"),
        ([[1], [2], [3]], [[1], [2, 0]], r"hole 1: got the lengths \[2, 0\]"),
        ([[], [2]], [[1]], "prompt 0 is empty"),
        ([[1], [2] * 20], [[4, 12]], "prompt 1 has 1 tokens and its canvas 32, together more"),
    ],
)
def test_bad_holes_are_named(
    model: PreTrainedModel, parts: list, lengths: list, message: str
) -> None:
    with pytest.raises(BadData, match=message):
        run(model, parts, lengths)
