"""A rule of the user's own, named by its import path."""

import pytest
import torch
from helpers import seeded
from pydantic import ValidationError
from tiny_vocabulary import END, MASK, PAD
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Generation, generate

PROMPTS = [[1, 2, 3], [4]]


def params(rule: str, **options: float) -> DecodingParams:
    return DecodingParams(**{"rule": rule, "max_new_tokens": 6, "steps": 6, "eps": 0.0} | options)


def decode(model: PreTrainedModel, config: DecodingParams) -> Generation:
    return generate(model, PROMPTS, config, MASK, END, PAD, seeded(0, 1))


def test_a_rule_of_ones_own_decides_what_is_revealed(model: PreTrainedModel) -> None:
    one = decode(model, params("custom_rule.left_to_right"))
    assert one.reveal_step.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    two = decode(model, params("custom_rule.left_to_right", steps=3))
    assert two.reveal_step.tolist() == [[0, 0, 1, 1, 2, 2]] * 2


@torch.no_grad()
def test_its_tokens_are_those_of_a_loop_from_left_to_right(model: PreTrainedModel) -> None:
    generation = decode(model, params("custom_rule.left_to_right"))
    for row, prompt in enumerate(PROMPTS):
        tokens = prompt + [MASK] * 6
        for place in range(len(prompt), len(tokens)):
            logits_V = model(torch.tensor([tokens])).logits[0, place - 1]
            logits_V[MASK] = -torch.inf
            tokens[place] = int(logits_V.argmax())
        assert generation.canvas[row].tolist() == tokens[len(prompt) :]


def test_its_traits_are_asked_as_those_of_the_projects_own_rules(model: PreTrainedModel) -> None:
    left_to_right, coin = params("custom_rule.left_to_right"), params("custom_rule.coin")
    assert left_to_right.rule_record.fixed_count and not left_to_right.random
    assert coin.random and not coin.rule_record.fixed_count
    assert torch.equal(decode(model, coin).reveal_step, decode(model, params("origin")).reveal_step)
    with pytest.raises(
        ValidationError, match=r"rule is custom_rule\.left_to_right, which draws no"
    ):
        params("custom_rule.left_to_right", alg_temp=0.5)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("no_such_module.mine", r"rule 'no_such_module\.mine' cannot be imported"),
        ("custom_rule.mine", r"rule 'custom_rule\.mine' cannot be imported .* no attribute 'mine'"),
        (
            "custom_rule.leftmost",
            r"rule 'custom_rule\.leftmost' is a function: give the import path",
        ),
        ("custom_rule.", r"rule 'custom_rule\.' cannot be imported"),
    ],
)
def test_a_path_that_names_no_rule_is_refused_with_the_parameters(rule: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(rule)
