"""Programs with the verdict that each must get: hostile ones, and honest ones that are odd.

They are in the text files of the folder `programs`. A program starts with `#: name`, for a hostile
one followed by the statuses it may get. Then its tests: `#+` begins one that must pass, `#-` one
that must not, and lines that begin with two spaces go on with it. A hostile program without tests
has to give the numbers of `WRONG`, which it cannot know.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from diffucoder.sandbox import TIERS, Program, Sandbox, Verdict
from diffucoder.sandbox.tiers import flaw

PROGRAMS = Path(__file__).with_name("programs")
WRONG = (("assert f(1) == 12345", False), ("assert f(2) == 67890", False))


@dataclass(frozen=True)
class Case:
    code: str
    tests: tuple[str, ...]
    passed: tuple[bool, ...]
    statuses: frozenset[str]

    @property
    def program(self) -> Program:
        return Program(self.code, self.tests)


def read(name: str) -> dict[str, Case]:
    text = (PROGRAMS / f"{name}.txt").read_text(encoding="utf-8")
    return dict(map(parse, re.split(r"^#: ", text, flags=re.MULTILINE)[1:]))


def parse(block: str) -> tuple[str, Case]:
    title, _, body = block.partition("\n")
    name, _, statuses = title.partition(" => ")
    tests = []
    while match := re.match(r"#([+-]) (.*\n(?:#  .*\n)*)", body):
        tests.append((match[2].replace("\n#  ", "\n"), match[1] == "+"))
        body = body[match.end() :]
    sources, passed = zip(*(tests or WRONG), strict=True)
    return name, Case(body, sources, passed, frozenset(statuses.split() or ["passed"]))


KINDS = {name: read(name) for name in ("forging", "escapes", "resources", "honest")}
CASES = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}


@pytest.fixture(scope="module")
def verdicts(sandbox: Sandbox) -> dict[str, Verdict]:
    # Those that never end need not be waited for as long as those that take their time.
    endless = {name: case for name, case in CASES.items() if case.statuses == {"timeout"}}
    others = {name: case for name, case in CASES.items() if name not in endless}
    with Sandbox(workers=4, memory_mb=256, cpu_s=1, wall_s=1.5) as impatient:
        found = impatient.run(case.program for case in endless.values())
    found += sandbox.run(case.program for case in others.values())
    return dict(zip((*endless, *others), found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_program_gets_what_it_deserves(verdicts: dict[str, Verdict], name: str) -> None:
    verdict = verdicts[name]
    assert verdict.passed == CASES[name].passed, verdict
    assert verdict.status in CASES[name].statuses, verdict


@pytest.mark.parametrize("tier", TIERS[1:3])
def test_weaker_tiers_contain_as_well(tier: str) -> None:
    if reason := flaw(tier):
        pytest.skip(f"not on this machine: {reason}")
    cases = KINDS["escapes"]
    with Sandbox(workers=2, memory_mb=256, cpu_s=1, tier=tier) as sandbox:
        found = sandbox.run(case.program for case in cases.values())
    for (name, case), verdict in zip(cases.items(), found, strict=True):
        assert verdict.status in case.statuses, (name, verdict)
        assert verdict.passed == case.passed, (name, verdict)


def test_nothing_is_left_behind(verdicts: dict[str, Verdict]) -> None:
    assert verdicts
    assert not [path for folder in ("/tmp", "/dev/shm") for path in Path(folder).glob("left*")]


def test_there_are_as_many_as_promised() -> None:
    assert sum(len(KINDS[kind]) for kind in ("forging", "escapes", "resources")) >= 60
    assert len(KINDS["honest"]) >= 15
