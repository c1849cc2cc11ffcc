"""Suites from their files: what is read, what is asked, and references that pass."""

import gzip
import json
from functools import partial
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from diffucoder.data.problems import Problem
from diffucoder.errors import BadData
from diffucoder.evaluation import suites
from diffucoder.evaluation.assembly import assemble
from diffucoder.evaluation.suites.options import SuiteName
from diffucoder.sandbox import Program, Sandbox

HUMANEVAL = {
    "task_id": "HumanEval/x",
    "prompt": "import math\n\ndef double(x):\n    return 2 * x\n\n\n"
    'def quadruple(x):\n    """Four times x."""\n',
    "entry_point": "quadruple",
    "canonical_solution": "    return double(double(x))\n",
    "test": "def check(candidate):\n    assert candidate(3) == double(double(3))\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function that adds.",
    "code": "class Box:\r\n    pass\r\ndef sum(a, b):\r\n    return a + b",
    "test_setup_code": "one = 1",
    "test_list": ["assert sum(one, 2) == 3", "assert sum(2, 2) == 4"],
}


def _write(folder: Path, humaneval: list[dict], mbpp: list[dict]) -> None:
    with gzip.open(folder / "HumanEval.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in humaneval)
    (folder / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mbpp))


def reference_program(problem: Problem) -> Program:
    return problem.program(problem.reference)


def test_records_have_the_problem_columns(tmp_path: Path) -> None:
    _write(tmp_path, [HUMANEVAL], [MBPP, MBPP | {"task_id": 601}])
    (human,) = suites.load("humaneval", tmp_path)
    (adds,) = suites.load("mbpp", tmp_path)
    assert human.prompt.startswith("Write one self-contained")
    assert HUMANEVAL["prompt"].rstrip() in human.prompt
    assert (human.source, human.split, human.tests) == ("humaneval", "eval", [])
    assert (adds.problem_id, adds.entry_point, adds.check) == ("MBPP/11", "sum", "")
    assert adds.tests[1] == "one = 1\nassert sum(2, 2) == 4"
    assert set(human.record()) == set(adds.record())


def test_candidate_cannot_replace_a_helper_of_the_prompt(tmp_path: Path) -> None:
    _write(tmp_path, [HUMANEVAL], [MBPP])
    (problem,) = suites.load("humaneval", tmp_path)
    forged = "def double(x): return 0\ndef quadruple(x): return 0"
    with Sandbox(workers=1) as sandbox:
        verdicts = sandbox.run(problem.program(code) for code in (problem.reference, forged))
    assert [verdict.status for verdict in verdicts] == ["passed", "failed"]


def test_base_models_continue_the_prompt(tmp_path: Path) -> None:
    _write(tmp_path, [HUMANEVAL], [MBPP])
    (problem,) = suites.load("humaneval", tmp_path, style="completion")
    assert problem.prompt == HUMANEVAL["prompt"]
    text = "    return 4 * x\n\ndef other():\n    pass"
    program = assemble(problem.prompt, text, "completion")
    assert program == HUMANEVAL["prompt"] + "    return 4 * x\n"
    assert assemble("ask", "```python\nx = 1\n```") == "x = 1\n"
    assert assemble("ask", "no code") is None


def test_holes_are_put_as_they_are(tmp_path: Path) -> None:
    hole = HUMANEVAL | {"canonical_solution": "    return double(", "suffix": "double(x))\n"}
    with gzip.open(tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz", "wt") as file:
        file.write(json.dumps(hole) + "\n")
    (problem,) = suites.load("humaneval_single_line", tmp_path)
    assert problem.prompt == HUMANEVAL["prompt"] + "<|mask|>double(x))\n"
    program = assemble(problem.prompt, hole["canonical_solution"], "infilling")
    assert program == problem.reference == HUMANEVAL["prompt"] + "    return double(double(x))\n"


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"HumanEval\.jsonl\.gz"):
        suites.load("humaneval", tmp_path)
    with pytest.raises(BadData, match="humaneval"):
        suites.load("no_such", tmp_path)


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"{}\n"), gzip.compress(b"x")[:9]])
def test_damaged_files_are_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(content)
    with pytest.raises(BadData, match="fetch it again"):
        suites.load("humaneval", tmp_path)


def test_real_references_pass(benchmarks_dir: Path) -> None:
    loaded = {name: suites.load(name, benchmarks_dir) for name in ("humaneval", "mbpp")}
    assert {name: len(records) for name, records in loaded.items()} == {
        "humaneval": 164,
        "mbpp": 500,
    }
    # Among them problems whose tests use helpers, and functions named like built-ins.
    chosen = [*loaded["humaneval"][::8], loaded["humaneval"][38], *loaded["mbpp"][::25]]
    chosen += [record for record in loaded["mbpp"] if record.entry_point == "sum"]
    for name, count in (("single_line", 1033), ("multi_line", 5815), ("random_span", 1640)):
        holes = suites.load(f"humaneval_{name}", benchmarks_dir)
        assert len(holes) == count
        chosen += holes[:: count // 8]
    with Sandbox(workers=2) as sandbox:
        verdicts = sandbox.run(map(reference_program, chosen))
    wrong = {r.problem_id: v for r, v in zip(chosen, verdicts, strict=True) if v.status != "passed"}
    assert wrong == {}


# Of each suite how many problems it has, every how many of them is judged, and those that also are
# for a rule or a type of their own.
SAMPLED: dict[str, tuple[int, int, set[str]]] = {
    "humaneval_plus": (164, 100, {"HumanEval/32", "HumanEval/121"}),
    "mbpp_plus": (
        378, 90, {f"Mbpp/{n}" for n in (2, 82, 124, 252, 404, 558, 581, 722, 787, 793)},
    ),
    "mbpp_sanitized": (257, 50, set()),
    "humaneval_single_line": (1033, 200, set()),
    "humaneval_multi_line": (5815, 1000, set()),
    "humaneval_random_span": (1640, 300, set()),
    "humaneval_random_span_light": (164, 40, set()),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("suite", SAMPLED)
def test_sampled_references_pass(benchmarks_dir: Path, suite: str) -> None:
    if not (benchmarks_dir / suites.SUITES[suite].file).exists():
        pytest.skip(f"{suites.SUITES[suite].file} is missing from {benchmarks_dir}")
    count, every, named = SAMPLED[suite]
    records = suites.load(suite, benchmarks_dir)
    assert len(records) == count
    chosen = records[::every] + [r for r in records if r.problem_id in named]
    assert named <= {record.problem_id for record in chosen}
    with Sandbox(workers=1, memory_mb=1024, wall_s=8, cpu_s=8) as sandbox:
        verdicts = sandbox.run(map(reference_program, chosen))
    wrong = {r.problem_id: v for r, v in zip(chosen, verdicts, strict=True) if v.status != "passed"}
    assert wrong == {}


def test_sanitising_is_an_option() -> None:
    answer = "Sure:\ndef f(x):\n    return x\nThat is all. def"
    take = partial(assemble, "ask", answer)
    assert take() is None
    assert take("instruct", "sanitised", "f") == "def f(x):\n    return x"
    continued = assemble(
        "import os\ndef f(x):\n", "    return x\n\nx = f(1", "completion", "sanitised", "f"
    )
    assert continued == "import os\ndef f(x):\n    return x"


def test_a_suite_of_ones_own_is_named_by_its_import_path(tmp_path: Path) -> None:
    row = {"id": "own/0", "prompt": "Add one.", "function": "f", "test": "assert f(1) == 2"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    (problem,) = suites.load("custom_suite.OWN", tmp_path)
    assert (problem.problem_id, problem.tests) == ("own/0", ["assert f(1) == 2"])
    assert suites.suite_label("custom_suite.OWN") == "Own"
    assert suites.trust("custom_suite.OWN") == "unforgeable"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("humanevil", "no suite 'humanevil': choose one of .*humaneval"),
        ("custom_suite.NO_SUCH", "suite 'custom_suite.NO_SUCH' cannot be imported"),
        ("custom_suite.own_problem", "no suite 'custom_suite.own_problem'"),
    ],
)
def test_names_of_suites_are_checked_with_the_parameters(name: str, message: str) -> None:
    assert TypeAdapter(SuiteName).validate_python("custom_suite.OWN") == "custom_suite.OWN"
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SuiteName).validate_python(name)


def test_every_module_with_suites_is_found() -> None:
    files = {suite.file for suite in suites.SUITES.values()}
    assert {"HumanEval.jsonl.gz", "MbppPlus.jsonl.gz", "BigCodeBench_Hard.jsonl"} <= files
    assert len(files) == len(suites.SUITES), "each suite has a file of its own"
