"""Composing parts into a task: its words, its code, and its common mistakes."""

from collections.abc import Iterable, Iterator, Mapping
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
SLOTS = ("source", "filter", "map", "aggregate")


@dataclass(frozen=True)
class Choice:
    """A part with one of its constants.

    Attributes:
        part: The part.
        constant: Its constant; None for a part without constants.
    """

    part: Part
    constant: int | None

    @property
    def key(self) -> str:
        """The choice's name in a composition."""
        return self.part.key if self.constant is None else f"{self.part.key}-{self.constant}"


@dataclass(frozen=True)
class GeneratedTask:
    """One composition of parts.

    Attributes:
        family: The family of its parts.
        choices: A choice for each slot, in the order of `SLOTS`.
    """

    family: Family
    choices: tuple[Choice, ...]

    @property
    def composition(self) -> str:
        """Name of the composition; no two splits share one."""
        return "/".join((self.family.name, *(choice.key for choice in self.choices)))

    def mistakable_slots(self) -> list[int]:
        """Indices of the slots whose part has a common mistake."""
        return [slot for slot, choice in enumerate(self.choices) if choice.part.mistake]

    def code(self, mistaken: Iterable[int] = ()) -> str:
        """Write the function's source.

        Args:
            mistaken: Indices of the slots at which it makes the common mistake.

        Returns:
            Source of the function `ENTRY_POINT`.
        """
        wrong = set(mistaken)
        source, condition, element, aggregate = (
            self._fill(choice, slot in wrong) for slot, choice in enumerate(self.choices)
        )
        items = f"{element} for {self.family.element} in {source}"
        items += f" if {condition}" if condition else ""
        body = aggregate.format(items=items)
        return f"def {ENTRY_POINT}({self.family.argument}):\n    return {body}\n"

    def _fill(self, choice: Choice, mistaken: bool) -> str:
        code = choice.part.mistake if mistaken and choice.part.mistake else choice.part.code
        # An aggregate keeps `{items}` for the comprehension that it wraps.
        if choice.part in self.family.aggregates:
            return code
        return code.format(x=self.family.element, k=choice.constant)

    def prompt(self, random: Random) -> str:
        """Write the instruction in words.

        Args:
            random: Draws a wording for each part.

        Returns:
            The instruction.
        """
        phrase = ""
        for choice in self.choices:
            wording = random.choice(choice.part.wordings)
            phrase = wording.format(of=phrase, k=choice.constant)
        signature = f"{ENTRY_POINT}({self.family.argument})"
        return random.choice(OPENINGS).format(signature=signature, what=phrase)


def choices(part: Part) -> list[Choice]:
    """Combine a part with each of its constants."""
    return [Choice(part, constant) for constant in part.constants or (None,)]


def every_task(family: Family) -> Iterator[GeneratedTask]:
    """Yield all compositions of a family, in a fixed order."""
    slots = (family.sources, family.filters, family.maps, family.aggregates)
    for combination in product(*([c for part in parts for c in choices(part)] for parts in slots)):
        yield GeneratedTask(family, combination)


def draw_tasks(shares: Mapping[str, float], count: int, random: Random) -> list[GeneratedTask]:
    """Draw distinct compositions in random order.

    Parts are drawn before constants, so that a part with five constants is as common as one
    without.

    Args:
        shares: Share of each family, by name; they need not sum to 1.
        count: Number of compositions.
        random: Source of the draws.

    Returns:
        The compositions, each family as often as its share says.

    Raises:
        BadParameters: If a family's share is more than 80 % of its compositions.
    """
    tasks: dict[str, GeneratedTask] = {}
    for name, quota in _quotas(shares, count).items():
        family = FAMILIES[name]
        slots = (family.sources, family.filters, family.maps, family.aggregates)
        size = sum(1 for _ in every_task(family))
        if quota > 0.8 * size:
            raise BadParameters(
                f"problems.families: {quota} of {count} compositions fall to {name!r}, which has "
                f"{size}: ask for at most 80 % of them; lower its share or problems.counts"
            )
        target = len(tasks) + quota
        while len(tasks) < target:
            drawn = tuple(random.choice(choices(random.choice(parts))) for parts in slots)
            task = GeneratedTask(family, drawn)
            tasks.setdefault(task.composition, task)
    mixed = list(tasks.values())
    random.shuffle(mixed)
    return mixed


def _quotas(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers in the ratio of the shares that sum to `count`."""
    total = sum(shares.values())
    ends = [round(count * sum(list(shares.values())[: n + 1]) / total) for n in range(len(shares))]
    starts = [0, *ends[:-1]]
    return {name: end - start for name, start, end in zip(shares, starts, ends, strict=True)}
