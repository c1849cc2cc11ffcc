"""Trusted source that tests share: run by the judge, out of the candidate's reach."""

import time

import pytest

from diffucoder.sandbox import Program, Sandbox, Verdict

SETUP = """
from math import isclose
def double(x):
    return helper(x) + helper(x)
def helper(x):
    return x
seen = []
def twice(candidate, x):
    seen.append(x)
    return len(seen) == 1 and candidate(x) == double(x)
"""
TESTS = ["assert twice(f, 3)", "assert twice(f, 4)", "assert isclose(f(1), 2)"]


def _run(code: str, tests: list[str] | str = TESTS, setup: str = SETUP) -> Verdict:
    with Sandbox(workers=1, wall_s=1, max_timeouts=1) as sandbox:
        (verdict,) = sandbox.run([Program(code, tests, "f", setup)])
    return verdict


def test_each_test_starts_from_the_setup() -> None:
    assert _run("def f(x): return 2 * x").passed == (True, True, True)
    assert _run("def f(x): return x + 3").passed == (True, False, False)


def test_a_check_has_its_setup() -> None:
    check = "def check(candidate):\n    assert twice(candidate, 3)\n"
    assert _run("def f(x): return 2 * x", check).status == "passed"


@pytest.mark.parametrize("name", ["double", "helper", "twice", "isclose", "seen"])
def test_a_candidate_cannot_replace_what_the_setup_defines(name: str) -> None:
    verdict = _run(f"def {name}(*args): return True\ndef f(x): return 1")
    assert verdict.passed == (False, False, False)


# Answers the judge's first request itself, and then whatever is asked with True.
FORGER = """
import os, struct

def say(body):
    os.write(3, struct.pack(">I", len(body)) + body)

say(b'{"ok":{"twice":{"h":0},"isclose":{"h":0},"f":{"h":0},"True":false}}')
while os.read(3, 2**20):
    say(b'{"ok":true}')
"""


def test_nor_can_one_that_writes_the_protocol_itself() -> None:
    assert _run(FORGER, TESTS[:2]).passed == (False, False)
    assert _run(FORGER, ["assert isclose(f(1), 2)"]).passed == (False,)


def test_a_setup_that_does_not_compile_fails_every_test() -> None:
    verdict = _run("def f(x): return 2 * x", setup="def (")
    assert (verdict.passed, verdict.error_type) == ((False,) * 3, "InvalidTest")


def test_a_setup_that_raises_fails_its_test() -> None:
    assert _run("def f(x): return 2 * x", setup="1 / 0").error_type == "ZeroDivisionError"


@pytest.mark.slow
def test_judges_are_killed_no_oftener_than_timeouts_are_allowed() -> None:
    # Summing it keeps the judge in one call that only a kill ends, after three seconds.
    began = time.monotonic()
    verdict = _run("def f(): return range(10**15)", ["assert sum(f()) == 1"] * 50, setup="")
    assert (verdict.status, verdict.passed) == ("timeout", (False,) * 50)
    assert time.monotonic() - began < 75
