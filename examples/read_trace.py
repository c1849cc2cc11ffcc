"""Read what a decode did: in which order, how sure it was, and what else it might have written.

    .venv/bin/python examples/read_trace.py trace.parquet --page trace.html

Traces come from `examples/decode.py`, and from a run with `grpo.trace`, `evaluation.trace` or
`analysis.trace`, in the stage's folder `work/traces`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from diffucoder.data.tokenizer import token_texts
from diffucoder.decoding import trace
from diffucoder.evaluation.autoregressiveness import global_ar, local_ar
from diffucoder.model.load import load_tokenizer
from diffucoder.report import viewer


def describe(found: trace.DecodingTrace, text_of: Callable[[int], str]) -> str:
    """One line per reveal, least certain last; and how much went from left to right."""
    lines = []
    for row in sorted(range(len(found.token)), key=lambda row: -found.probability[row]):
        others = ", ".join(
            f"{text_of(token)!r} {probability:.0%}"
            for token, probability in zip(
                found.top_tokens[row], found.top_probabilities[row], strict=True
            )
        )
        lines.append(
            f"step {found.reveal_step[row]:>3}, position {found.position[row]:>3}: "
            f"{text_of(found.token[row])!r} {found.probability[row]:.0%}, of {others}"
        )
    # Both are defined for one token per step: `position` is the order of reveals.
    order = found.position
    lines.append(f"local AR-ness@1 {local_ar(order, 1):.2f}, global {global_ar(order, 1):.2f}")
    return "\n".join(lines)


def page(title: str, found: trace.DecodingTrace, text_of: Callable[[int], str]) -> str:
    """The viewer of the report, as a page of its own."""
    written = dict(
        zip(found.position, zip(found.token, found.reveal_step, strict=True), strict=True)
    )
    places = sorted(written)
    # The viewer counts positions from 0 without gaps; these reveals fill a canvas of masks.
    pieces = [text_of(written[place][0]) for place in places]
    others = [[text_of(token) for token in row] for row in found.top_tokens]
    steps = [written[place][1] for place in places]
    return viewer.page(title, viewer.watched(pieces, steps, found, others))


def main() -> None:
    """Print every trace of the file; write a page of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkpoint", default="data/06_models/grpo", help="for its tokenizer")
    parser.add_argument("--page", type=Path, help="a page to play and step through")
    options = parser.parse_args()
    text_of = token_texts(load_tokenizer(options.checkpoint))
    traces = trace.read(options.file)
    for name, found in traces.items():
        print(name, describe(found, text_of), sep="\n")
    if options.page:
        name, found = next(iter(traces.items()))
        options.page.write_text(page(name, found, text_of), encoding="utf-8")


if __name__ == "__main__":
    main()
