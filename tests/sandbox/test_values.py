"""The crossing format: faithful for plain data, inert for everything else."""

import json
import math
import random
from collections import Counter, OrderedDict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from diffucoder.sandbox.inside.values import Decoder, Encoder
from diffucoder.sandbox.inside.wire import Malformed


def _export(value: object) -> dict[str, Any]:
    return {"h": 7}


def _resolve(tag: str, number: int) -> object:
    return (tag, number)


def cross(value: Any) -> Any:
    tree = json.loads(json.dumps(Encoder(_export).encode(value)))
    return Decoder(_resolve).decode(tree)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 10**5000, -(10**5000), 1.5, -0.0, math.inf, "", "é\ud800\0", b"\xff",
        bytearray(b"x"), 1 + 2j, (), (1, (2,)), [], [[]], {1, 2}, frozenset({3}), {}, {(1,): [2]},
        {"t": 1}, {"r": 0, 1: {"h": 2}}, range(1, 9, 2), deque([1]), Decimal("1.10"),
        Fraction(1, 3), ..., int, [int, str], Counter("aab"), date(2024, 2, 29),
        datetime(1, 1, 1, 23, 59, 58, 7), time(4), timedelta(-3, 5, 6),
    ],
    ids=lambda value: repr(value) if not isinstance(value, int) else "int",
)  # fmt: skip
def test_plain_data_crosses_unchanged(value: Any) -> None:
    crossed = cross(value)
    assert crossed == value
    assert type(crossed) is type(value)


def test_names_of_a_tuples_members_cross() -> None:
    point = namedtuple("Point", "x y")
    crossed = cross([point(1, [2]), point(3, 4)])
    assert [(p.x, p.y) for p in crossed] == [(1, [2]), (3, 4)]
    assert repr(crossed[0]) == "Point(x=1, y=[2])"
    assert crossed[1] == (3, 4)


def test_names_that_could_be_taken_for_pythons_own_are_left_out() -> None:
    class Odd(tuple):
        __slots__ = ()
        _fields = ("__eq__", "x")

    crossed = cross(Odd((1, 2)))
    assert type(crossed) is tuple
    assert crossed == (1, 2)


def test_times_with_a_zone_are_no_plain_data() -> None:
    assert cross(datetime(2024, 1, 1, tzinfo=UTC)) == ("h", 7)


def test_not_a_number_crosses() -> None:
    assert math.isnan(cross(math.nan))


def test_subclasses_cross_as_plain_builtins() -> None:
    class Text(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    class Row(list):
        def __iter__(self) -> Any:
            return iter([9])

    crossed = cross([Text("a"), Row([1]), OrderedDict(a=1), True])
    assert crossed == ["a", [1], {"a": 1}, True]
    assert [type(part) for part in crossed] == [str, list, dict, bool]


def test_sharing_and_cycles_survive() -> None:
    shared = [1]
    crossed = cross([shared, {"k": shared}, shared])
    assert crossed[0] is crossed[1]["k"] is crossed[2]
    cycle: list[Any] = []
    cycle.append(cycle)
    crossed = cross(cycle)
    assert crossed[0] is crossed


def test_other_objects_cross_as_numbers() -> None:
    assert cross([object(), len]) == [("h", 7), ("h", 7)]


def test_what_is_simplified_is_counted_among_the_containers() -> None:
    class Table:
        def tolist(self) -> list[Any]:
            return [[1], [2]]

    def simplify(value: Any) -> Any:
        return value.tolist() if isinstance(value, Table) else value

    shared = [3]
    encoder = Encoder(_export, simplify=simplify)
    tree = encoder.encode([Table(), shared, Table(), shared, object()])
    crossed = Decoder(_resolve).decode(json.loads(json.dumps(tree)))
    assert crossed == [[[1], [2]], [3], [[1], [2]], [3], ("h", 7)]
    assert crossed[1] is crossed[3]


def test_too_deep_is_refused() -> None:
    value: list[Any] = []
    for _ in range(1000):
        value = [value]
    with pytest.raises(Malformed):
        Encoder(_export).encode(value)


def test_refill_changes_containers_in_place() -> None:
    held: list[Any] = [[1], {"a": 1}, {1}, bytearray(b"x"), deque([1])]
    decoder = Decoder(_resolve, held)
    for number, contents in enumerate([[2, {"r": 0}], [["b", 2]], [2], "79", [2]]):
        decoder.refill(number, contents)
    assert held[0][0] == 2
    assert held[0][1] is held[0]
    assert held[1:] == [{"b": 2}, {2}, bytearray(b"y"), deque([2])]


TAGS = [
    "i",
    "t",
    "z",
    "b",
    "c",
    "R",
    "D",
    "F",
    "e",
    "T",
    "d",
    "s",
    "B",
    "q",
    "r",
    "h",
    "o",
    "x",
    "C",
    "n",
    "M",
]


def _junk(draw: random.Random, depth: int) -> Any:
    """JSON that keeps to the format here and there."""
    kind = draw.randrange(8 if depth else 5)
    if kind < 5:
        return draw.choice(
            [None, True, 0, -1, 3, 10**30, 1.5, math.nan, "", "zz", "ff", "1e9", "NaN", "int"]
        )
    if kind < 7:
        return {draw.choice(TAGS): _junk(draw, depth - 1)}
    return [_junk(draw, depth - 1) for _ in range(draw.randrange(4))]


def test_decoding_junk_gives_plain_values_or_one_error() -> None:
    draw = random.Random(0)
    outcomes = {"value": 0, "malformed": 0}
    for _ in range(20000):
        decoder = Decoder(_resolve)
        try:
            decoder.decode(_junk(draw, 4))
            outcomes["value"] += 1
        except Malformed:
            outcomes["malformed"] += 1
    assert min(outcomes.values()) > 1000


@pytest.mark.parametrize(
    "tree",
    [
        {"T": "eval"}, {"T": "object"}, {"T": ["int"]}, {"r": 0}, {"r": -1}, {"r": True},
        {"t": 1, "l": 2}, {}, {"y": 1}, {"t": "ab"}, {"i": 5}, {"D": 1}, {"F": [1, 0]},
        {"c": "xyz"},
        {"s": [[]]}, {"d": [[1]]}, {"d": [[[], 1]]}, {"b": "0"}, {"R": [1, 2, 0]}, {"h": "0"},
        {"F": [1.5, "x"]}, {"c": ["a", "b", "c"]}, {"M": ["date", 2024, 13, 1]}, {"M": ["eval", 1]},
        {"M": ["date", 2024, 1, True]}, {"M": ["timedelta", 10**30]}, {"M": ["date"]},
        {"n": ["P", ["x"], []]}, {"n": ["P", ["__eq__"], [1]]}, {"n": ["P", ["x", "x"], [1, 2]]},
        {"n": ["P", ["a b"], [1]]}, {"n": ["P", ["count"], [1]]}, {"n": ["P)(", ["x"], [1]]},
        {"n": ["P", ["x" * 3000], [1]]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_no_encoder_sends_is_refused(tree: Any) -> None:
    with pytest.raises(Malformed):
        Decoder(_resolve).decode(tree)
