"""A checkpoint asked in text."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from diffucoder.errors import BadCheckpoint, BadData, BadParameters
from diffucoder.model.export import export_dream
from diffucoder.serving import Speaker, open_speaker, pace


def test_holes_are_filled_and_the_rest_stays(speaker: Speaker) -> None:
    text = "def <|mask|>(x):\n    return <|mask|>\n"
    found, filling = speaker.infill(text, [1, 3], pace(), seed=0)
    first, second = (speaker.decode(hole) for hole in filling.holes)
    assert found == f"def {first}(x):\n    return {second}\n"
    assert [len(hole) for hole in filling.holes] == list(filling.lengths)
    assert set(filling.lengths) <= {1, 3}
    assert speaker.infill("<|mask|>(x)", [2], pace(), seed=0)[0].endswith("(x)")


@pytest.mark.parametrize(
    ("text", "lengths", "message"),
    [
        ("no hole", [4], "no hole"),
        ("a<|mask|>" * 6, [1, 2, 3], "729 combinations"),
        ("a<|mask|>", [400], "context"),
    ],
)
def test_texts_that_cannot_be_filled(
    speaker: Speaker, text: str, lengths: list[int], message: str
) -> None:
    with pytest.raises(BadData, match=message):
        speaker.infill(text, lengths, pace(), seed=0)


def test_dreams_layout_is_taken_and_answers_alike(
    speaker: Speaker, checkpoint: Path, tmp_path: Path
) -> None:
    export_dream(checkpoint, tmp_path)
    text = "def add(x):<|mask|>"
    there = open_speaker(tmp_path, "cpu").infill(text, [6], pace(), seed=0)[0]
    assert there == speaker.infill(text, [6], pace(), seed=0)[0]


def test_an_autoregressive_checkpoint_is_refused(autoregressive: Path) -> None:
    with pytest.raises(BadCheckpoint, match="causal"):
        open_speaker(autoregressive, "cpu")


def test_a_conversation_that_the_template_refuses(speaker: Speaker) -> None:
    picky = copy.copy(speaker.tokenizer)
    picky.chat_template = "{{ raise_exception('users first') }}"
    with pytest.raises(BadData, match="users first"):
        replace(speaker, tokenizer=picky).chat([{"role": "user", "content": "a"}])
    with pytest.raises(BadData, match="special tokens"):
        speaker.chat([{"role": "user", "content": "a<|im_end|>"}])


def test_paces() -> None:
    config = pace(4, 32, rule="threshold", threshold=0.8)
    assert (config.steps / config.max_new_tokens, config.block_length) == (1 / 4, 32)
    with pytest.raises(BadParameters, match="block"):
        pace(3, 32)
    with pytest.raises(BadParameters, match="temperature"):
        pace(temperature=-1.0)


def test_an_answer_gets_the_room_that_is_left(speaker: Speaker) -> None:
    assert len(speaker.canvas([1] * 90, 50)) == speaker.context - 90
    with pytest.raises(BadData, match="shorten"):
        speaker.canvas([1] * 96, 1)
