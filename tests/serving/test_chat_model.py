"""A checkpoint asked in text."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from diffucoder.errors import BadCheckpoint, BadData, BadParameters
from diffucoder.model.export import export_dream
from diffucoder.serving import ChatModel, decoding_params, load_chat_model


def test_holes_are_filled_and_the_rest_stays(chat_model: ChatModel) -> None:
    text = "def <|mask|>(x):\n    return <|mask|>\n"
    found, filling = chat_model.infill(text, [1, 3], decoding_params(), seed=0)
    first, second = (chat_model.decode(hole) for hole in filling.holes)
    assert found == f"def {first}(x):\n    return {second}\n"
    assert [len(hole) for hole in filling.holes] == list(filling.lengths)
    assert set(filling.lengths) <= {1, 3}
    assert chat_model.infill("<|mask|>(x)", [2], decoding_params(), seed=0)[0].endswith("(x)")


@pytest.mark.parametrize(
    ("text", "lengths", "message"),
    [
        ("no hole", [4], "no hole"),
        ("a<|mask|>" * 6, [1, 2, 3], "729 combinations"),
        ("a<|mask|>", [400], "context"),
    ],
)
def test_texts_that_cannot_be_filled(
    chat_model: ChatModel, text: str, lengths: list[int], message: str
) -> None:
    with pytest.raises(BadData, match=message):
        chat_model.infill(text, lengths, decoding_params(), seed=0)


def test_dreams_layout_is_taken_and_answers_alike(
    chat_model: ChatModel, checkpoint: Path, tmp_path: Path
) -> None:
    export_dream(checkpoint, tmp_path)
    text = "def add(x):<|mask|>"
    there = load_chat_model(tmp_path, "cpu").infill(text, [6], decoding_params(), seed=0)[0]
    assert there == chat_model.infill(text, [6], decoding_params(), seed=0)[0]


def test_an_autoregressive_checkpoint_is_refused(autoregressive: Path) -> None:
    with pytest.raises(BadCheckpoint, match="causal"):
        load_chat_model(autoregressive, "cpu")


def test_a_conversation_that_the_template_refuses(chat_model: ChatModel) -> None:
    picky = copy.copy(chat_model.tokenizer)
    picky.chat_template = "{{ raise_exception('users first') }}"
    with pytest.raises(BadData, match="users first"):
        replace(chat_model, tokenizer=picky).chat([{"role": "user", "content": "a"}])
    with pytest.raises(BadData, match="special tokens"):
        chat_model.chat([{"role": "user", "content": "a<|im_end|>"}])


def test_decoding_params_keep_the_tokens_per_step() -> None:
    config = decoding_params(4, 32, rule="threshold", threshold=0.8)
    assert (config.steps / config.max_new_tokens, config.block_length) == (1 / 4, 32)
    with pytest.raises(BadParameters, match="block"):
        decoding_params(3, 32)
    with pytest.raises(BadParameters, match="temperature"):
        decoding_params(temperature=-1.0)


def test_an_answer_gets_the_room_that_is_left(chat_model: ChatModel) -> None:
    assert len(chat_model.canvas([1] * 90, 50)) == chat_model.context - 90
    with pytest.raises(BadData, match="shorten"):
        chat_model.canvas([1] * 96, 1)
