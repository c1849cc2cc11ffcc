"""Composing parts into a task: its words, its code, and the mistakes one can make at it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from diffucoder.data.families.parts import FAMILIES, Family, Part
from diffucoder.errors import BadParameters

# Openings of an instruction; `{signature}` is the function to write.
OPENINGS = (
    "Write {signature} that returns the {what}.",
    "Define {signature}: return the {what}.",
)
ENTRY_POINT = "f"
PLACES = ("source", "filter", "map", "aggregate")


@dataclass(frozen=True)
class Choice:
    """A part with its constant (None where it has none)."""

    part: Part
    constant: int | None

    @property
    def key(self) -> str:
        """The choice's name in a composition."""
        return self.part.key if self.constant is None else f"{self.part.key}-{self.constant}"


@dataclass(frozen=True)
class Task:
    """One composition: a family and a choice at each place, in the order of `PLACES`."""

    family: Family
    choices: tuple[Choice, ...]

    @property
    def composition(self) -> str:
        """The name by which splits are kept apart."""
        return "/".join((self.family.name, *(choice.key for choice in self.choices)))

    def risky_places(self) -> list[int]:
        """Indices of the places whose part has a common mistake."""
        return [place for place, choice in enumerate(self.choices) if choice.part.mistake]

    def code(self, mistaken: Iterable[int] = ()) -> str:
        """The function's source, with the common mistake at the places in `mistaken`."""
        wrong = set(mistaken)
        source, kept, made, aggregate = (
            self._fill(choice, place in wrong) for place, choice in enumerate(self.choices)
        )
        items = f"{made} for {self.family.element} in {source}" + (f" if {kept}" if kept else "")
        body = aggregate.format(items=items)
        return f"def {ENTRY_POINT}({self.family.argument}):\n    return {body}\n"

    def _fill(self, choice: Choice, mistaken: bool) -> str:
        code = choice.part.mistake if mistaken and choice.part.mistake else choice.part.code
        # An aggregate keeps `{items}` for the comprehension that it wraps.
        if choice.part in self.family.aggregates:
            return code
        return code.format(x=self.family.element, k=choice.constant)

    def prompt(self, random: Random) -> str:
        """An instruction in words, with a wording drawn for each part."""
        phrase = ""
        for choice in self.choices:
            wording = random.choice(choice.part.wordings)
            phrase = wording.format(of=phrase, k=choice.constant)
        signature = f"{ENTRY_POINT}({self.family.argument})"
        return random.choice(OPENINGS).format(signature=signature, what=phrase)


def choices(part: Part) -> list[Choice]:
    """The part with each of its constants."""
    return [Choice(part, constant) for constant in part.constants or (None,)]


def every_task(family: Family) -> Iterator[Task]:
    """All compositions of a family, in a fixed order."""
    places = (family.sources, family.filters, family.maps, family.aggregates)
    for combination in product(*([c for part in parts for c in choices(part)] for parts in places)):
        yield Task(family, combination)


def draw_tasks(shares: dict[str, float], count: int, random: Random) -> list[Task]:
    """Draw distinct compositions in random order, each family as often as its share says.

    Parts are drawn before constants, so that a part with five constants is as common as one
    with none.

    Raises:
        BadParameters: if a family does not hold what its share asks of it, and a fifth more.
    """
    tasks: dict[str, Task] = {}
    for name, quota in _quotas(shares, count).items():
        family = FAMILIES[name]
        places = (family.sources, family.filters, family.maps, family.aggregates)
        room = sum(1 for _ in every_task(family))
        if quota > 0.8 * room:
            raise BadParameters(
                f"problems.families: {quota} of {count} compositions fall to {name!r}, which has "
                f"{room}: ask for at most 80 % of them; lower its share or problems.counts"
            )
        wanted = len(tasks) + quota
        while len(tasks) < wanted:
            drawn = tuple(random.choice(choices(random.choice(parts))) for parts in places)
            task = Task(family, drawn)
            tasks.setdefault(task.composition, task)
    mixed = list(tasks.values())
    random.shuffle(mixed)
    return mixed


def _quotas(shares: dict[str, float], count: int) -> dict[str, int]:
    """Whole numbers in the ratio of the shares that sum to `count`."""
    total = sum(shares.values())
    ends = [round(count * sum(list(shares.values())[: n + 1]) / total) for n in range(len(shares))]
    starts = [0, *ends[:-1]]
    return {name: end - start for name, start, end in zip(shares, starts, ends, strict=True)}
