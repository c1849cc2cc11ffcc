"""Watching an answer denoise, with a terminal and without one."""

import io
from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from diffucoder.decoding import Request, Step, decode
from diffucoder.serving import ChatModel, decoding_params
from diffucoder.serving.terminal import AGES, MASKED, Canvas, converse, denoise


@pytest.fixture
def request_of(chat_model: ChatModel) -> Callable[..., Request]:
    def make(asked: str, tokens: int = 12) -> Request:
        prompt = chat_model.chat([{"role": "user", "content": asked}])
        draws = torch.Generator().manual_seed(3)
        canvas = chat_model.canvas(prompt, tokens)
        config = decoding_params(temperature=1.0)
        return Request(prompt, canvas, config, chat_model.special.turn_end, draws)

    return make


def test_a_canvas_shows_masks_ages_and_no_end() -> None:
    canvas = Canvas([9, 9, 9, 3], mask=9, ends=[7], text_of="abcdefghij".__getitem__)
    canvas.take(Step(0, 0, [0], [1], None))
    text = canvas.render()
    assert text.plain == f"b{MASKED}{MASKED}d"
    assert [span.style for span in text.spans] == [AGES[0], "dim", "dim"]
    canvas.take(Step(0, 1, [1], [2], None))
    assert [span.style for span in canvas.render().spans] == [AGES[1], AGES[0], "dim"]
    canvas.take(Step(0, 40, [2], [7], None))
    text = canvas.render()
    assert (text.plain, text.spans) == ("bc", [])


def test_without_a_terminal_the_answer_alone_is_written(
    chat_model: ChatModel, request_of: Callable[..., Request]
) -> None:
    written = io.StringIO()
    completion = denoise(chat_model, request_of("add"), Console(file=written, soft_wrap=True))
    asked = [request_of("add")]
    (expected,) = decode(chat_model.model, asked, chat_model.special).rows
    assert completion is not None
    assert completion.tokens == expected.tokens
    assert written.getvalue() == chat_model.decode(expected.tokens) + "\n"


def test_a_model_cannot_command_the_terminal() -> None:
    canvas = Canvas([0, 1], mask=9, ends=[], text_of=["\x1b[2J", "\n"].__getitem__)
    assert canvas.render().plain == "\ufffd[2J\n"


def test_on_a_terminal_every_step_is_drawn(
    chat_model: ChatModel, request_of: Callable[..., Request]
) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, color_system="256", width=200, _environ={})
    completion = denoise(chat_model, request_of("add"), console)
    assert completion is not None
    shown = written.getvalue()
    steps = int(completion.reveal_step.max()) + 1
    assert f"tokens in {steps} steps" in shown
    assert "tokens/s" in shown
    # The first step leaves all masks but one, and the fresh token is bright.
    assert shown.count(MASKED) >= 11 * 12 // 2 - 12
    assert "\x1b[1;93m" in shown


def test_conversations_go_on_until_the_context_is_full(
    chat_model: ChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["add", "and again", "once more", "x" * 30, ""])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    chat = ChatModel.chat
    monkeypatch.setattr(Console, "input", lambda self, prompt: next(lines))
    monkeypatch.setattr(
        ChatModel,
        "chat",
        lambda self, messages: asked.append(list(messages)) or chat(self, messages),
    )
    converse(chat_model, decoding_params(), 8, 0, Console(file=io.StringIO()))
    assert [message["role"] for message in asked[1]] == ["user", "assistant", "user"]
    # The first turns made room for the last, and the question stayed.
    assert asked[-1][-1]["content"] == "x" * 30
    assert len(chat(chat_model, asked[-1])) + 8 <= chat_model.context
    assert len(asked[-1]) < 7
