"""Denoising in a terminal: masks that become text, coloured by how long ago."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from rich.console import Console
from rich.live import Live
from rich.text import Text

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Completion, Request, Step, stream
from diffucoder.serving.chat_model import ChatModel

MASKED = "\u2591"
# Style of a token by the steps since it was revealed; older ones have none.
AGES = ("bold bright_yellow", "yellow", "bright_green", "green", "cyan", "blue")

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Canvas:
    """The text of a row so far, as a terminal shows it.

    Args:
        canvas: given tokens and masks.
        mask: the mask token.
        ends: tokens from which on nothing is shown.
        text_of: gives the text of a single token.

    Attributes:
        tokens: the tokens so far, None where a position is masked.
        revealed: the step that revealed each position; long ago for given ones.
        ends: as given.
        text_of: as given.
        step: the current step.
    """

    def __init__(
        self, canvas: Sequence[int], mask: int, ends: Sequence[int], text_of: Callable[[int], str]
    ) -> None:
        self.tokens: list[int | None] = [None if token == mask else token for token in canvas]
        self.revealed = [-len(AGES)] * len(canvas)
        self.ends, self.text_of = set(ends), text_of
        self.step = 0

    def take(self, step: Step) -> None:
        """Write what a step revealed."""
        self.step = step.step
        for position, token in zip(step.positions, step.tokens, strict=True):
            self.tokens[position] = token
            self.revealed[position] = step.step

    def render(self) -> Text:
        """Masks dim, fresh tokens bright; nothing from the end token on."""
        text = Text()
        for token, revealed in zip(self.tokens, self.revealed, strict=True):
            if token in self.ends:
                break
            age = self.step - revealed
            if token is None:
                text.append(MASKED, "dim")
            else:
                text.append(_harmless(self.text_of(token)), AGES[age] if age < len(AGES) else "")
        return text


def converse(
    chat_model: ChatModel,
    config: DecodingParams,
    max_tokens: int,
    seed: int,
    console: Console,
    seconds_between: float = 0.0,
) -> None:
    """Answer a terminal turn by turn, and other input all at once.

    The oldest turns are dropped when the context has no room for them and an answer.

    Args:
        chat_model: the checkpoint that answers.
        config: how to decode answers.
        max_tokens: length of an answer, in tokens.
        seed: random seed.
        console: where answers are written.
        seconds_between: least time for which a step is shown, in seconds.

    Raises:
        BadData: for a question that has no room in the context, or contains a special token's text.
    """
    generator = torch.Generator().manual_seed(seed)
    messages: list[dict[str, str]] = []
    for question in _turns(console):
        messages.append({"role": "user", "content": question})
        prompt = chat_model.chat(messages)
        while len(messages) > 2 and len(prompt) + max_tokens > chat_model.context:
            messages = messages[2:]
            prompt = chat_model.chat(messages)
        canvas = chat_model.canvas(prompt, max_tokens)
        request = Request(prompt, canvas, config, chat_model.special.turn_end, generator)
        completion = denoise(chat_model, request, console, seconds_between)
        if completion is None:
            messages.pop()
        else:
            answer = chat_model.decode(completion.tokens)
            messages.append({"role": "assistant", "content": answer})


def _turns(console: Console) -> Iterator[str]:
    if not sys.stdin.isatty():
        yield sys.stdin.read().strip()
        return
    while True:
        try:
            question = console.input("[bold]> [/bold]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not question:
            return
        yield question


def denoise(
    chat_model: ChatModel, request: Request, console: Console, seconds_between: float = 0.0
) -> Completion | None:
    """Answer a request; on a terminal show every step, elsewhere write the answer alone.

    An interrupt ends the answer and not the program.

    Args:
        chat_model: the checkpoint that answers.
        request: what to decode.
        console: where the answer is written.
        seconds_between: least time for which a step is shown, in seconds.

    Returns:
        The completion, or None if it was interrupted.
    """
    special, start = chat_model.special, time.monotonic()
    ends = (request.end_token_id, special.end_of_text, special.pad)
    canvas = Canvas(request.canvas, special.mask, ends, chat_model.text_of)
    completion, steps = None, 0
    try:
        with Live(
            console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
        ) as live:
            for step in _paced(stream(chat_model.model, [request], special), seconds_between):
                canvas.take(step)
                completion, steps = step.completion, steps + 1
                if console.is_terminal:
                    live.update(canvas.render(), refresh=True)
    except KeyboardInterrupt:
        console.print("interrupted", style="dim")
        return None
    assert completion is not None
    text = chat_model.decode(completion.tokens)
    if not console.is_terminal:
        console.file.write(f"{text}\n")
    else:
        console.out(_harmless(text), highlight=False)
        written = sum(step >= 0 for step in completion.reveal_step.tolist())
        seconds = max(time.monotonic() - start, 1e-9)
        summary = (
            f"{written} tokens in {steps} steps, {seconds:.1f} s, {written / seconds:.0f} tokens/s"
        )
        console.print(summary, style="dim", highlight=False)
    return completion


def _harmless(text: str) -> str:
    """Replace control characters, with which a model could command the terminal."""
    return _CONTROLS.sub("\ufffd", text)


def _paced(steps: Iterator[Step], seconds: float) -> Iterator[Step]:
    shown = time.monotonic()
    for step in steps:
        time.sleep(max(0.0, shown + seconds - time.monotonic()))
        shown = time.monotonic()
        yield step
