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
from diffucoder.serving.speaker import Speaker

MASKED = "\u2591"
# Style of a token by the steps since it was revealed; older ones have none.
AGES = ("bold bright_yellow", "yellow", "bright_green", "green", "cyan", "blue")

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Canvas:
    """The text of a row so far, as a terminal shows it.

    Args:
        canvas: given tokens and masks.
        mask: the mask token.
        ends: tokens after which nothing is shown.
        text_of: a token as text.
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
        for place, token in zip(step.places, step.tokens, strict=True):
            self.tokens[place] = token
            self.revealed[place] = step.step

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
    speaker: Speaker,
    config: DecodingParams,
    max_tokens: int,
    seed: int,
    console: Console,
    seconds_between: float = 0.0,
) -> None:
    """Answer a person turn by turn, or, where no person sits, the whole input at once.

    The oldest turns are forgotten when the context has no room for them and an answer.

    Args:
        speaker: who answers.
        config: how answers are decoded.
        max_tokens: of an answer.
        seed: of the draws.
        console: where answers are written.
        seconds_between: least time that a step is shown.

    Raises:
        BadData: for a question that has no room in the context, or holds a special token's text.
    """
    draws = torch.Generator().manual_seed(seed)
    messages: list[dict[str, str]] = []
    for asked in _turns(console):
        messages.append({"role": "user", "content": asked})
        prompt = speaker.chat(messages)
        while len(messages) > 2 and len(prompt) + max_tokens > speaker.context:
            messages = messages[2:]
            prompt = speaker.chat(messages)
        canvas = speaker.canvas(prompt, max_tokens)
        request = Request(prompt, canvas, config, speaker.special.turn_end, draws)
        completion = denoise(speaker, request, console, seconds_between)
        if completion is None:
            messages.pop()
        else:
            answer = speaker.decode(completion.tokens)
            messages.append({"role": "assistant", "content": answer})


def _turns(console: Console) -> Iterator[str]:
    if not sys.stdin.isatty():
        yield sys.stdin.read().strip()
        return
    while True:
        try:
            asked = console.input("[bold]> [/bold]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not asked:
            return
        yield asked


def denoise(
    speaker: Speaker, request: Request, console: Console, seconds_between: float = 0.0
) -> Completion | None:
    """Answer a request; on a terminal show every step, elsewhere write the answer alone.

    An interrupt ends the answer and not the program.

    Args:
        speaker: who answers.
        request: what is asked.
        console: where it is written.
        seconds_between: least time that a step is shown.

    Returns:
        The completion, or None if it was interrupted.
    """
    special, began = speaker.special, time.monotonic()
    ends = (request.end_token_id, special.end_of_text, special.pad)
    canvas = Canvas(request.canvas, special.mask, ends, speaker.text_of)
    completion, steps = None, 0
    try:
        with Live(
            console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
        ) as live:
            for step in _paced(
                stream(speaker.model, [request], special.mask, special.pad), seconds_between
            ):
                canvas.take(step)
                completion, steps = step.completion, steps + 1
                if console.is_terminal:
                    live.update(canvas.render(), refresh=True)
    except KeyboardInterrupt:
        console.print("interrupted", style="dim")
        return None
    assert completion is not None
    text = speaker.decode(completion.tokens)
    if not console.is_terminal:
        console.file.write(f"{text}\n")
    else:
        console.out(_harmless(text), highlight=False)
        written = sum(step >= 0 for step in completion.reveal_step.tolist())
        seconds = max(time.monotonic() - began, 1e-9)
        told = (
            f"{written} tokens in {steps} steps, {seconds:.1f} s, {written / seconds:.0f} tokens/s"
        )
        console.print(told, style="dim", highlight=False)
    return completion


def _harmless(text: str) -> str:
    """Without characters that would command the terminal, which a model could write."""
    return _CONTROLS.sub("\ufffd", text)


def _paced(steps: Iterator[Step], seconds: float) -> Iterator[Step]:
    shown = time.monotonic()
    for step in steps:
        time.sleep(max(0.0, shown + seconds - time.monotonic()))
        shown = time.monotonic()
        yield step
