"""The parts that generated tasks are composed from.

A task reads "Return the AGGREGATE of the MAP of the FILTERED SOURCE": each slot is filled by a
part, and each part has wordings, code, and perhaps the common mistake in it.

Placeholders: `{k}` a small constant, `{x}` the element's name, `{of}` the phrase that a wording
wraps, `{items}` the comprehension that an aggregate wraps.
"""

from dataclasses import dataclass

CONSTANTS = (3, 5, 7)


@dataclass(frozen=True)
class Part:
    """One choice for one slot of a task.

    Attributes:
        key: Name in a composition.
        wordings: Equivalent phrasings.
        code: The right code.
        mistake: Common wrong code; None for a part without one.
        constants: The values that `{k}` takes; empty where the part has no constant.
        inputs: For a source, the kind of input that tests draw, a key of `inputs.GENERATORS`.
    """

    key: str
    wordings: tuple[str, ...]
    code: str
    mistake: str | None = None
    constants: tuple[int, ...] = ()
    inputs: str = ""


@dataclass(frozen=True)
class Family:
    """The parts that fit together.

    Attributes:
        name: Name of the family.
        argument: Name of the function's argument.
        element: Name of the loop variable.
        sources: Parts that name what the loop runs over.
        filters: Parts that choose elements.
        maps: Parts that transform each element.
        aggregates: Parts that combine all elements.
    """

    name: str
    argument: str
    element: str
    sources: tuple[Part, ...]
    filters: tuple[Part, ...]
    maps: tuple[Part, ...]
    aggregates: tuple[Part, ...]


# Only one slot has constants: a model of a million weights does not learn in minutes which of two
# numbers belongs where.
NUMBER_FILTERS = (
    Part("all", ("{of}",), ""),
    Part("even", ("even {of}",), "{x} % 2 == 0"),
    Part("odd", ("odd {of}",), "{x} % 2 == 1"),
    Part("positive", ("positive {of}",), "{x} > 0", "{x} >= 0"),
    Part("multiple", ("{of} divisible by {k}",), "{x} % {k} == 0", None, CONSTANTS),
    Part("above", ("{of} greater than {k}", "{of} above {k}"), "{x} > {k}", "{x} >= {k}",
         CONSTANTS),
    Part("below", ("{of} less than {k}", "{of} below {k}"), "{x} < {k}", "{x} <= {k}", CONSTANTS),
    Part("least", ("{of} of at least {k}",), "{x} >= {k}", "{x} > {k}", CONSTANTS),
)  # fmt: skip

NUMBER_MAPS = (
    Part("same", ("{of}",), "{x}"),
    Part("square", ("squares of the {of}", "{of}, each squared"), "{x} * {x}"),
    Part("double", ("doubles of the {of}", "{of}, each doubled"), "2 * {x}"),
    Part("negate", ("negatives of the {of}",), "-{x}"),
    Part("size", ("absolute values of the {of}",), "abs({x})", "{x}"),
)

NUMBER_AGGREGATES = (
    Part("sum", ("sum of the {of}", "total of the {of}"), "sum([{items}])"),
    Part("list", ("list of the {of}",), "[{items}]"),
    Part("descending", ("list of the {of}, from largest to smallest",),
         "sorted([{items}], reverse=True)", "sorted([{items}])"),
    Part("largest", ("largest of the {of}, or 0",), "max([{items}], default=0)",
         "max([{items}])"),
    Part("distinct", ("number of distinct {of}", "number of different {of}"), "len(set([{items}]))",
         "len([{items}])"),
)  # fmt: skip

TEXT_FILTERS = (
    Part("all", ("{of}",), ""),
    Part("vowels", ("vowels among the {of}",), "{x} in 'aeiou'"),
    Part("letters", ("letters among the {of}",), "{x}.isalpha()", "{x}.isalnum()"),
    Part("digits", ("digits among the {of}",), "{x}.isdigit()"),
    Part("upper", ("upper-case {of}", "capital {of}"), "{x}.isupper()"),
    Part("lower", ("lower-case {of}",), "{x}.islower()", "not {x}.isupper()"),
)

TEXT_MAPS = (
    Part("same", ("{of}",), "{x}"),
    Part("capital", ("{of}, each in upper case",), "{x}.upper()"),
    Part("small", ("{of}, each in lower case",), "{x}.lower()"),
    Part("twice", ("doubles of the {of}", "{of}, each doubled"), "2 * {x}"),
)

TEXT_AGGREGATES = (
    Part("joined", ("string of the {of}",), "''.join([{items}])"),
    Part("list", ("list of the {of}",), "[{items}]"),
    Part("reversed", ("string of the {of}, in reverse",), "''.join([{items}][::-1])",
         "''.join([{items}])"),
    Part("distinct", ("number of distinct {of}", "number of different {of}"), "len(set([{items}]))",
         "len([{items}])"),
)  # fmt: skip

SOURCES = {
    "lists": (Part("list", ("numbers in xs",), "xs", inputs="integers"),),
    "strings": (Part("text", ("characters of s",), "s", inputs="text"),),
    "numbers": (
        Part("upto", ("numbers from 1 to n",), "range(1, n + 1)", "range(1, n)", inputs="limit"),
        Part("under", ("numbers from 0 to n - 1",), "range(n)", inputs="limit"),
        Part("digits", ("digits of n",), "map(int, str(n))", inputs="count"),
    ),
    "dicts": (Part("values", ("values of d",), "d.values()", inputs="counts"),),
}

NUMBER_PARTS = (NUMBER_FILTERS, NUMBER_MAPS, NUMBER_AGGREGATES)
TEXT_PARTS = (TEXT_FILTERS, TEXT_MAPS, TEXT_AGGREGATES)

FAMILIES = {
    "lists": Family("lists", "xs", "x", SOURCES["lists"], *NUMBER_PARTS),
    "strings": Family("strings", "s", "x", SOURCES["strings"], *TEXT_PARTS),
    "numbers": Family("numbers", "n", "x", SOURCES["numbers"], *NUMBER_PARTS),
    "dicts": Family("dicts", "d", "x", SOURCES["dicts"], *NUMBER_PARTS),
}
