"""Properties of the crossing format: whatever a child sends, the judge stays whole.

The judge trusts neither the bytes nor what they decode to; what a test does with a decoded value
costs that test alone.
"""

import json
import math
import os
import struct
from collections import Counter, deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffucoder.sandbox import Program, Sandbox
from diffucoder.sandbox.inside.values import MAX_FRACTION_BITS, Decoder, Encoder
from diffucoder.sandbox.inside.wire import Closed, Malformed, receive

PLAIN = (
    type(None), bool, int, float, str, bytes, bytearray, complex, tuple, list, dict, set,
    frozenset, deque, range, Decimal, Fraction, type(...), type, numpy.ndarray, Counter, date,
    datetime, time, timedelta,
)  # fmt: skip
TAGS = [*"itzbcRDFeTdsBqrhoxflaENnCM", ""]


class Handle:
    """Stands for an object on the other side."""


def _resolve(tag: str, number: int) -> object:
    assert tag in Decoder.HANDLES
    assert type(number) is int
    assert number >= 0
    return Handle()


def _export(value: object) -> dict[str, Any]:
    raise AssertionError(f"{value!r} is not plain data")


def _ordered(numbers: list[float]) -> bool:
    """Whether no not-a-number, which is unequal to itself, is among them."""
    return all(number == number for number in numbers)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["ff", "0x1", "1e999999999", "NaN", "sNaN", "int", "eval", "1_0", "-0x0"]),
    st.sampled_from(["date", "timedelta", "x", "__eq__"]),
)
# JSON that keeps to the format here and there.
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1),
        st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    max_leaves=20,
)
hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.complex_numbers(allow_nan=False),
        st.text(st.characters()),
        st.binary(),
        st.decimals(allow_nan=False),
        st.fractions(),
        st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
        st.sampled_from([int, list, ...]),
        st.datetimes() | st.dates() | st.times() | st.timedeltas(),
        st.integers(3990, 5000).map(lambda exponent: 1 - 10**exponent),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)
    ),
    max_leaves=8,
)
values = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(st.floats(allow_nan=False), min_size=30, max_size=34),
        st.lists(st.floats(allow_nan=False), min_size=30, max_size=34).map(tuple),
        st.lists(st.integers() | st.floats() | st.just(10**4001), max_size=3).filter(_ordered),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.lists(inner, max_size=3).map(deque),
        st.lists(hashable, max_size=3).map(Counter),
        st.binary().map(bytearray),
    ),
    max_leaves=15,
)


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """All that a value holds, itself included, each container once."""
    if id(value) in seen:
        return
    yield value
    if isinstance(value, (list, tuple, dict, set, frozenset, deque)):
        seen.add(id(value))
        for part in value:
            yield from _parts(part, seen)
        if isinstance(value, dict):
            for part in value.values():
                yield from _parts(part, seen)


def _same_types(value: Any, other: Any) -> bool:
    """Whether two equal values also are of equal types, as deep as order tells."""
    if type(value) is not type(other):
        return False
    if isinstance(value, (list, tuple, deque)):
        return all(map(_same_types, value, other))
    if isinstance(value, dict):
        return all(_same_types(inner, other[key]) for key, inner in value.items())
    return True


@given(trees)
@settings(max_examples=1500)
def test_any_tree_decodes_to_plain_values_or_is_malformed(tree: Any) -> None:
    try:
        value = Decoder(_resolve).decode(tree)
    except Malformed:
        return
    for part in _parts(value, set()):
        # Of a tuple with names, Python made the class, of identifiers alone.
        names = getattr(part, "_fields", ())
        assert type(part) in (*PLAIN, Handle) or (names and all(map(str.isidentifier, names)))


@given(st.integers(-1, 3), trees)
@settings(max_examples=500)
def test_any_change_of_a_container_is_carried_out_or_malformed(number: int, tree: Any) -> None:
    held: list[Any] = [[], {}, {1}, bytearray(b"x")]
    decoder = Decoder(_resolve, held)
    kinds = [type(container) for container in held]
    try:
        decoder.refill(number, tree)
    except Malformed:
        assert held == [[], {}, {1}, bytearray(b"x")]
    assert [type(container) for container in held] == kinds


@given(st.binary(max_size=64), st.booleans())
@example(b"[" * 100_000, True)
@example(b"1" * 100_000, True)
@example(b'{"i":NaN}', True)
@example(b'"\xff"', True)
@settings(max_examples=300)
def test_any_bytes_are_json_or_malformed_or_the_end(body: bytes, framed: bool) -> None:
    reader, writer = os.pipe()
    try:
        # Pipes hold 64 KiB, which the examples with a frame stay below or fill from a thread.
        os.set_blocking(writer, False)
        os.write(writer, (struct.pack(">I", len(body)) if framed else b"") + body)
        os.close(writer)
        message = receive(reader)
        assert json.loads(json.dumps(message)) == message or message != message
    except (Malformed, Closed):
        pass
    finally:
        os.close(reader)


def test_frames_beyond_the_limit_are_not_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"\xff\xff\xff\xff")
    with pytest.raises(Malformed, match="4294967295"):
        receive(reader)
    os.close(reader)
    os.close(writer)


@given(values)
@settings(max_examples=500)
def test_plain_values_cross_unchanged(value: Any) -> None:
    crossed = Decoder(_resolve).decode(json.loads(json.dumps(Encoder(_export).encode(value))))
    assert crossed == value
    assert _same_types(crossed, value)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, wall_s=1, cpu_s=2, memory_mb=512) as opened:
        yield opened


literals = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(value=literals)
@settings(max_examples=40)
def test_values_of_a_child_equal_the_judges_own(sandbox: Sandbox, value: Any) -> None:
    code = f"def f(x):\n    return [x, {value!r}]\n"
    (verdict,) = sandbox.run([Program(code, [f"assert f({value!r}) == [{value!r}, {value!r}]"])])
    assert verdict.status == "passed"


# Programs that write the protocol themselves: `reply` goes out as the answer to the call of `f`.
FORGER = """
import os, struct, time

def f(*args):
    body = {body}
    os.write(3, struct.pack(">I", len(body)))
    while body:
        body = body[os.write(3, body):]
    time.sleep(60)
"""
PRIME = 2**61 - 1
FORGED = {
    "not JSON": "b'junk'",
    "not an object": "b'[1]'",
    "an object of nothing": "b'{}'",
    "deep": "b'{\"ok\":' + b'[' * 100_000",
    "a long decimal number": "b'{\"ok\":' + b'1' * 10_000_000 + b'}'",
    "a long fraction": "b'{\"ok\":{\"F\":[\"' + b'f1' * 9_000_000 + b'\",\"' + b'e3' * 9_000_000"
    " + b'\"]}}'",
    "keys of one hash": f'b\'{{"ok":{{"d":[\' + b\',\'.join(b\'[{{"i":"%x"}},1]\' % (i * {PRIME})'
    " for i in range(1, 200_000)) + b']}}'",
    "a set of one hash": f'b\'{{"ok":{{"z":[\' + b\',\'.join(b\'{{"i":"%x"}}\' % (i * {PRIME})'
    " for i in range(1, 200_000)) + b']}}'",
    "a change of what was not sent": 'b\'{"ok":1,"changed":[[99,[]]]}\'',
    "a call of what was not lent": 'b\'{"op":"call","id":99,"args":{"t":[{"t":[]},{"d":[]}]}}\'',
    "an error that is no error": 'b\'{"error":["print","x","y",1]}\'',
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_messages_cost_their_program_alone(sandbox: Sandbox, name: str) -> None:
    forger = Program(FORGER.format(body=FORGED[name]), ["assert f(1) == 1"])
    honest = Program("def f(x): return x", ["assert f(1) == 1"])
    verdicts = sandbox.run([forger, honest])
    assert verdicts[0].status in {"crashed", "timeout", "error"}
    assert verdicts[1].status == "passed"


# What a trusted test does in good faith with the value it is given.
LOADED = {
    "a power": ("10**9", "assert f() ** f() == 1", "timeout"),
    "a list of a range": ("range(10**12)", "assert list(f()) == []", "memory"),
    "the length of a range": ("range(10**30)", "assert len(f()) == 1", "error"),
    "a repetition": ("10**12", "assert 'a' * f() == 'a'", "memory"),
    "a sort of what has no order": ("[1, 'a', None]", "assert sorted(f()) == []", "error"),
    "text of a long integer": ("10**5000", "assert str(f()) == '1'", "error"),
    "a signalling number": (
        "__import__('decimal').Decimal('sNaN')", "assert f() == 1", "error",
    ),
    "a list within itself": (
        "(lambda x: x.append(x) or x)([])", "assert f() == [[[f()]]]", "error",
    ),
    "lists that double": (
        "__import__('functools').reduce(lambda x, _: [x, x], range(60), [])",
        "assert f() == __import__('functools').reduce(lambda x, _: [x, x], range(60), [])",
        "timeout",
    ),
    "objects of its own": ("object()", "assert f() != 1", "error"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADED)
def test_what_a_test_does_with_a_value_costs_that_test_alone(sandbox: Sandbox, name: str) -> None:
    value, test, status = LOADED[name]
    other = "assert g() == 2"
    code = f"def f():\n    return {value}\ndef g():\n    return 2\n"
    (verdict,) = sandbox.run([Program(code, [other, test, other])])
    assert verdict.passed == (True, False, True)
    assert verdict.status == status


@pytest.mark.slow
def test_memory_that_one_program_takes_is_free_for_the_next() -> None:
    # Held in a cycle, so that only a collection can free it.
    hoarder = "def f():\n    x = ['a' * 110_000_000]\n    x.append(x)\n    return x\n"
    with Sandbox(workers=1, wall_s=20, cpu_s=10) as sandbox:
        verdicts = sandbox.run([Program(hoarder, ["assert len(f()) == 2"])] * 10)
    assert [verdict.status for verdict in verdicts] == ["passed"] * 10


def test_fractions_up_to_the_limit_cross() -> None:
    longest = Fraction(2**MAX_FRACTION_BITS - 1, 3**1000)
    assert Decoder(_resolve).decode(Encoder(_export).encode(longest)) == longest
    with pytest.raises(Malformed, match="fraction"):
        Decoder(_resolve).decode({"F": [hex(2**MAX_FRACTION_BITS), "0x1"]})


@pytest.mark.parametrize("length", [1, 31, 32, 33])
@pytest.mark.parametrize("odd", [math.nan, -0.0, math.inf, 10**4001, True, 1, None])
def test_lists_of_floats_keep_what_is_odd_among_them(length: int, odd: Any) -> None:
    listed = [0.5] * (length - 1) + [odd]
    for value in (listed, tuple(listed), deque(listed), {1: listed, 2: listed}):
        crossed = Decoder(_resolve).decode(json.loads(json.dumps(Encoder(_export).encode(value))))
        assert repr(hexed(crossed)) == repr(hexed(value))


def hexed(value: Any) -> Any:
    """Values whose `repr` is short and tells all."""
    if isinstance(value, dict):
        return {key: hexed(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return type(value)(map(hexed, value))
    return hex(value) if type(value) is int else value


def test_not_a_number_keeps_its_place() -> None:
    (found,) = Decoder(_resolve).decode(json.loads(json.dumps(Encoder(_export).encode([math.nan]))))
    assert math.isnan(found)
