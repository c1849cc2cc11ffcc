"""What a decode did, as a page to watch: played, stepped through, pointed at.

The page asks for nothing outside itself, and what a model wrote is escaped by the template engine.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffucoder.decoding.request import Completion
from diffucoder.decoding.trace import DecodingTrace


def environment() -> Environment:
    """The environment of this package's templates.

    `viewer.html.jinja` holds the macro `viewer(run, label)`.
    """
    return Environment(
        loader=PackageLoader("diffucoder.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def watched(
    pieces: Sequence[str],
    reveal_step: Sequence[int],
    trace: DecodingTrace | None = None,
    alternatives: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """A completion as the macro `viewer` takes it.

    Args:
        pieces: Its tokens as text.
        reveal_step: The step that revealed each, from 0; -1 for a token that was given.
        trace: The trace of its reveals.
        alternatives: texts of the trace's alternatives, reveal by reveal.

    Returns:
        `last`, the last step, and `tokens`: each with `text`, `step`, `heat` (from 0, revealed
        first, to 1, last), `probability` (or None) and `alternatives` (text and probability).
    """
    last = max(reveal_step, default=0)
    looks: dict[int, tuple[float, list[tuple[str, float]]]] = {}
    if trace is not None:
        found = (trace.position, trace.probability, alternatives, trace.top_probabilities)
        for place, probability, texts, theirs in zip(*found, strict=True):
            shares = [round(share, 4) for share in theirs]
            looks[place] = (round(probability, 4), list(zip(texts, shares, strict=True)))
    tokens = []
    for place, (text, step) in enumerate(zip(pieces, reveal_step, strict=True)):
        probability, others = looks.get(place, (None, []))
        heat = round(max(step, 0) / last, 3) if last else 0.0
        token = {"text": text, "step": int(step), "heat": heat}
        tokens.append(token | {"probability": probability, "alternatives": others})
    return {"last": int(last), "tokens": tokens}


def watch(completion: Completion, text_of: Callable[[int], str]) -> dict[str, Any]:
    """A completion of the sampler as the macro `viewer` takes it.

    Args:
        completion: A completion, with its trace if it has one.
        text_of: Gives a token as text.
    """
    trace = completion.trace
    others = [[text_of(token) for token in row] for row in trace.top_tokens] if trace else []
    steps = completion.reveal_step[: len(completion.tokens)].tolist()
    return watched([text_of(token) for token in completion.tokens], steps, trace, others)


def page(title: str, run: dict[str, Any]) -> str:
    """A self-contained page that shows one completion.

    Args:
        title: What was asked.
        run: What `watched` or `watch` made.

    Returns:
        The page as HTML.
    """
    return environment().get_template("trace.html.jinja").render(title=title, run=run)
