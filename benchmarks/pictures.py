"""The pictures of the README, drawn from a finished run.

    .venv/bin/python benchmarks/pictures.py [--data data] [--problem ID]

Two files in `docs/images`: `denoising.svg`, an animation of the checkpoint `grpo` as it answers a
held-out problem, each token shown from the step that revealed it; and `reward.svg`, the reward and
the pass rate over the steps of coupled-GRPO. Both are text, need no library to draw or to show, and
load nothing. The script prints the problem with the answers of `instruct` and `grpo`, as the README
quotes them.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"

# Of a monospaced font, in pixels: the advance of a character and the height of a line.
ADVANCE, LINE = 9.0, 24.0
MARGIN, HEADER, FOOTER = 24.0, 72.0, 56.0
SECONDS_PER_STEP, HOLD = 0.16, 3.5
# The colour of a token goes from the first of these (revealed first) to the last.
HEAT = ((88, 166, 255), (188, 140, 255), (255, 166, 87))
SMOOTHING = 9  # steps


def main() -> None:
    """Draw both pictures and print the answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the run's data folder")
    parser.add_argument("--problem", help="a held-out problem; if not given, one that was learned")
    options = parser.parse_args()
    completions = pd.read_parquet(options.data / "07_model_output" / "completions.parquet")
    before, after = answers(completions, options.problem)
    metrics = pd.read_parquet(options.data / "08_reporting" / "metrics" / "grpo.parquet")
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = denoising(after["prompt"], list(after["pieces"]), list(after["reveal_step"]))
    (IMAGES / "denoising.svg").write_text(picture, encoding="utf-8")
    (IMAGES / "reward.svg").write_text(reward(metrics), encoding="utf-8")
    print(after["problem_id"], after["prompt"], sep="\n")
    for answer in (before, after):
        passed = "passes" if answer["passed"] else f"passes {answer['pass_rate']:.0%} of the tests"
        print(f"\n{answer['checkpoint']}: {passed}\n{answer['text']}")


def answers(completions: pd.DataFrame, problem: str | None = None) -> tuple[pd.Series, pd.Series]:
    """The greedy answers of `instruct` and `grpo` to one held-out problem.

    Args:
        completions: the table that evaluation leaves.
        problem: its id; None takes, of the problems that `instruct` fails and `grpo` solves, the
            one with the longest answer.

    Raises:
        SystemExit: if there is no such problem.
    """
    greedy = completions[
        (completions["suite"] == "heldout") & (completions["decoding"] == "greedy")
    ].set_index("problem_id", drop=False)
    before, after = (greedy[greedy["checkpoint"] == name] for name in ("instruct", "grpo"))
    if problem is None:
        learned = after[after["passed"] & ~before["passed"].reindex(after.index)]
        if learned.empty:
            raise SystemExit("coupled-GRPO solved no further problem: name one with --problem")
        problem = str(learned["length"].idxmax())
    if problem not in before.index or problem not in after.index:
        raise SystemExit(f"{problem} is not among the held-out problems of this run")
    return before.loc[problem], after.loc[problem]


@dataclass(frozen=True)
class Slot:
    """A piece of a token on one line of the picture.

    Attributes:
        text: its characters; an arrow for the end of a line.
        line: from 0.
        column: characters before it on its line.
        step: the step that revealed its token, from 0.
    """

    text: str
    line: int
    column: int
    step: int


def layout(pieces: Sequence[str], steps: Sequence[int]) -> list[Slot]:
    """Where each token stands once everything is written; a token may reach over several lines."""
    slots, line, column = [], 0, 0
    for piece, step in zip(pieces, steps, strict=True):
        for number, text in enumerate(piece.split("\n")):
            if number:
                slots.append(Slot("↵", line, column, step))
                line, column = line + 1, 0
            if text:
                slots.append(Slot(text, line, column, step))
                column += len(text)
    return slots


def denoising(prompt: str, pieces: Sequence[str], steps: Sequence[int]) -> str:
    """An animated SVG of one completion: masks that become tokens, in the order of their steps.

    Args:
        prompt: what was asked.
        pieces: the completion's tokens as text.
        steps: the step that revealed each, from 0.
    """
    slots = layout(pieces, [int(step) for step in steps])
    last = max(slot.step for slot in slots)
    columns = max(max(slot.column + len(slot.text) for slot in slots), 60)
    prompt_lines = wrapped(prompt, columns)
    header = HEADER + LINE * (len(prompt_lines) - 1)
    width = 2 * MARGIN + ADVANCE * columns
    height = header + LINE * (1 + max(slot.line for slot in slots)) + FOOTER
    seconds = SECONDS_PER_STEP * (last + 1) + HOLD
    drawn = "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" role="img">',
            "<title>A program as coupled-GRPO's model writes it: tokens appear in any order"
            "</title>",
            f"<style>{_styles(last, seconds)}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#0d1117"/>',
            *(
                _text(line, MARGIN, MARGIN + 12 + LINE * number, "#8b949e", 'class="prompt"')
                for number, line in enumerate(prompt_lines)
            ),
            *_slots(slots, header, last),
            *_footer(width, height),
            "</svg>",
        ]
    )
    return drawn + "\n"


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` characters, where words allow."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _styles(last: int, seconds: float) -> str:
    """One pair of keyframes for each step; without animation the finished program is shown."""
    rules = [
        "text{font:15px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}",
        ".m{opacity:0}",
        ".bar{transform-box:fill-box;transform-origin:left}",
    ]
    written = 100 * (1 - HOLD / seconds)
    moving = [
        f".bar{{animation:bar {seconds:g}s linear infinite}}",
        f"@keyframes bar{{0%{{transform:scaleX(0)}}{written:.2f}%,100%{{transform:none}}}}",
    ]
    for step in range(last + 1):
        shown = written * (step + 1) / (last + 1)
        before, settled = shown - 0.01, min(shown + 8, 100)
        moving += [
            f".t{step}{{animation:t{step} {seconds:g}s infinite}}",
            f".m{step}{{animation:m{step} {seconds:g}s infinite}}",
            f"@keyframes t{step}{{0%,{before:.2f}%{{opacity:0;fill:#fff}}"
            f"{shown:.2f}%{{opacity:1;fill:#fff}}"
            f"{settled:.2f}%,100%{{opacity:1;fill:{heat(step / max(last, 1))}}}}}",
            f"@keyframes m{step}{{0%,{before:.2f}%{{opacity:1}}{shown:.2f}%,100%{{opacity:0}}}}",
        ]
    return "".join(rules) + f"@media (prefers-reduced-motion:no-preference){{{''.join(moving)}}}"


def _slots(slots: Sequence[Slot], header: float, last: int) -> Iterator[str]:
    for slot in slots:
        x, y = MARGIN + ADVANCE * slot.column, header + LINE * slot.line
        length = ADVANCE * len(slot.text)
        yield (
            f'<rect class="m m{slot.step}" x="{x + 1:g}" y="{y:g}" width="{length - 2:g}" '
            f'height="{LINE - 6:g}" rx="3" fill="#30363d"/>'
        )
        if slot.text.strip():
            faint = ' fill-opacity="0.4"' if slot.text == "↵" else ""
            colour = heat(slot.step / max(last, 1))
            yield _text(slot.text, x, y + 14, colour, f'class="t{slot.step}"{faint}')


def _text(text: str, x: float, y: float, colour: str, attributes: str = "") -> str:
    # Spaces at the ends would be dropped. The length is given: columns meet in every font.
    x += ADVANCE * (len(text) - len(text.lstrip()))
    text = text.strip()
    length = ADVANCE * len(text)
    return (
        f'<text {attributes} x="{x:g}" y="{y:g}" fill="{colour}" textLength="{length:g}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def _footer(width: float, height: float) -> Iterator[str]:
    y, length = height - 28, width - 2 * MARGIN
    stops = "".join(f'<stop offset="{at:g}" stop-color="{heat(at)}"/>' for at in (0, 0.5, 1))
    yield f'<defs><linearGradient id="heat">{stops}</linearGradient></defs>'
    yield f'<rect x="{MARGIN:g}" y="{y:g}" width="{length:g}" height="4" rx="2" fill="#30363d"/>'
    yield (
        f'<rect class="bar" x="{MARGIN:g}" y="{y:g}" width="{length:g}" height="4" rx="2" '
        'fill="url(#heat)"/>'
    )


def heat(share: float) -> str:
    """The colour of a token by when it was revealed, from 0 to 1."""
    place = share * (len(HEAT) - 1)
    low = min(int(place), len(HEAT) - 2)
    mixed = (
        round(a + (b - a) * (place - low)) for a, b in zip(HEAT[low], HEAT[low + 1], strict=True)
    )
    return "#" + "".join(f"{value:02x}" for value in mixed)


@dataclass(frozen=True)
class Panel:
    """One diagram of the second picture, in pixels and in the units of its axes.

    Attributes:
        left: its left edge.
        steps: the last step of the horizontal axis, which begins at 0.
        top: the largest value of the vertical axis, which begins at 0.
        percent: whether values are shown in percent.
    """

    left: float
    steps: float
    top: float
    percent: bool = False
    width: float = 300.0
    height: float = 180.0
    upper: float = 48.0

    def point(self, step: float, value: float) -> str:
        """A value's place in the picture."""
        x = self.left + self.width * step / self.steps
        return f"{x:.1f},{self.upper + self.height * (1 - value / self.top):.1f}"

    def frame(self, title: str, ticks: Sequence[float]) -> Iterator[str]:
        """Title, grid and labels."""
        yield f'<text class="title" x="{self.left:g}" y="{self.upper - 18:g}">{title}</text>'
        for tick in ticks:
            y = float(self.point(0, tick).split(",")[1])
            label = f"{tick:.0%}" if self.percent else f"{tick:g}"
            yield f'<path class="grid" d="M{self.left:g} {y:g}h{self.width:g}"/>'
            yield f'<text x="{self.left - 8:g}" y="{y + 4:g}" text-anchor="end">{label}</text>'
        for step in (0, self.steps / 2, self.steps):
            x = self.left + self.width * step / self.steps
            y = self.upper + self.height + 18
            yield f'<text x="{x:g}" y="{y:g}" text-anchor="middle">{step:g}</text>'
        y = self.upper + self.height + 36
        yield f'<text x="{self.left + self.width / 2:g}" y="{y:g}" text-anchor="middle">step</text>'

    def curve(self, values: pd.Series, kind: str) -> Iterator[str]:
        """Raw values as dots, and their running mean as a line."""
        for step, value in values.items():
            x, y = self.point(step, value).split(",")
            yield f'<circle class="{kind} raw" cx="{x}" cy="{y}" r="2"/>'
        smooth = values.rolling(SMOOTHING, center=True, min_periods=1).mean()
        points = " ".join(self.point(step, value) for step, value in smooth.items())
        yield f'<polyline class="{kind} line" points="{points}"/>'

    def marks(self, values: pd.Series, kind: str) -> Iterator[str]:
        """Single values, joined, with their numbers."""
        points = [self.point(step, value) for step, value in values.items()]
        yield f'<polyline class="{kind} line thin" points="{" ".join(points)}"/>'
        for point, value in zip(points, values, strict=True):
            x, y = point.split(",")
            yield f'<circle class="{kind} dot" cx="{x}" cy="{y}" r="4.5"/>'
            # At the right edge the number ends at its mark.
            anchor = "end" if point == points[-1] else "start"
            place = f'x="{x}" y="{float(y) - 10:g}" text-anchor="{anchor}"'
            yield f'<text class="{kind}" {place}>{value:.0%}</text>'


def reward(metrics: pd.DataFrame) -> str:
    """An SVG of reward and pass rates over the steps of coupled-GRPO.

    Args:
        metrics: table of `step`, `name`, `value`.
    """
    series = {name: rows.set_index("step")["value"] for name, rows in metrics.groupby("name")}
    total, passing = series["reward/total"], series["pass_rate"]
    validation = series["validation/pass_rate"]
    steps = float(total.index.max())
    top = max(1.0, float(total.max()) * 1.1)
    left = Panel(44, steps, top)
    right = Panel(420, steps, 1.0, percent=True)
    ticks = [tick / 2 for tick in range(int(top * 2) + 1)]
    colours = (
        "text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-size:15px;fill:#24292f}"
        ".grid{stroke:#8c959f44}.line{fill:none;stroke-width:2.5;stroke-linejoin:round}"
        ".thin{stroke-width:1;stroke-dasharray:3 4}.raw{opacity:.4}"
        "circle.a{fill:#0969da}.line.a{stroke:#0969da}circle.b{fill:#bc4c00}.line.b{stroke:#bc4c00}"
        "text.a{fill:#0969da}text.b{fill:#bc4c00}"
        "@media (prefers-color-scheme:dark){text{fill:#8b949e}.title{fill:#e6edf3}"
        "circle.a{fill:#58a6ff}.line.a{stroke:#58a6ff}circle.b{fill:#ffa657}"
        ".line.b{stroke:#ffa657}text.a{fill:#58a6ff}text.b{fill:#ffa657}}"
    )
    drawn = "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="276" '
            'viewBox="0 0 760 276" role="img">',
            "<title>Reward and pass rate over the steps of coupled-GRPO</title>",
            f"<style>{colours}</style>",
            *left.frame("reward per completion", ticks),
            *left.curve(total, "a"),
            *right.frame("programs that pass all tests", [0, 0.25, 0.5, 0.75, 1]),
            *right.curve(passing, "a"),
            *right.marks(validation, "b"),
            '<text class="a" x="432" y="66">while training, temperature 1</text>',
            '<text class="b" x="432" y="84">validation problems, temperature 0.2</text>',
            "</svg>",
        ]
    )
    return drawn + "\n"


if __name__ == "__main__":
    main()
