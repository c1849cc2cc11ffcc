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
    "{signature} gives the {what}.",
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
    """Draw distinct compositions: a family by its share, then a part at each place, evenly.

    Parts are drawn before constants, so that a part with eight constants is as common as one
    with none.

    Raises:
        BadParameters: if the families do not hold twice that many compositions.
    """
    names = [name for name, share in shares.items() if share > 0]
    room = sum(1 for name in names for _ in every_task(FAMILIES[name]))
    if count > room // 2:
        raise BadParameters(
            f"{count} compositions asked of families {names}, which hold {room}: ask for at most "
            f"half of them ({room // 2}), so that splits can be drawn at random"
        )
    tasks: dict[str, Task] = {}
    while len(tasks) < count:
        family = FAMILIES[random.choices(names, [shares[name] for name in names])[0]]
        places = (family.sources, family.filters, family.maps, family.aggregates)
        drawn = tuple(random.choice(choices(random.choice(parts))) for parts in places)
        task = Task(family, drawn)
        tasks.setdefault(task.composition, task)
    return list(tasks.values())
