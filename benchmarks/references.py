"""Do the reference solutions of the published suites pass in the sandbox?

    .venv/bin/python benchmarks/references.py --folder data/01_raw/benchmarks

Every problem of every suite whose file is there, MBPP's training and validation splits included,
is judged by the real sandbox at the limits EvalPlus sets. One row a suite: problems, references
that passed, tests that they passed; below the table every exception with its reason. Ends with
status 1 when a reference of a suite that can be judged here does not pass.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from diffucoder.data.problems import Problem
from diffucoder.data.tabular import read_rows
from diffucoder.evaluation.scoring import find_untestable
from diffucoder.evaluation.suites import SUITES
from diffucoder.evaluation.suites.plus import LEFT_OUT
from diffucoder.progress import track
from diffucoder.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[1]

# EvalPlus: 4 GB, and 4 s a test for the candidate; as much again for what the judge does, which
# runs the reference for the expected answer. By the clock twice that: other work may go on.
LIMITS = {"memory_mb": 4096, "cpu_s": 8, "wall_s": 16}


def main() -> None:
    """Judge them all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "01_raw" / "benchmarks")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--every", type=int, default=1, help="judge every n-th problem")
    parser.add_argument("--workers", type=int, default=None, help="default: one a processor")
    options = parser.parse_args()
    notes: list[str] = []
    failed = False
    print("| suite | problems | passed | tests passed | seconds |\n|---|---|---|---|---|")
    with Sandbox(workers=options.workers, **LIMITS) as sandbox:
        for name in options.suites:
            path = options.folder / SUITES[name].file
            if not path.exists():
                notes.append(f"{name}: {path} is missing")
                continue
            rows = islice(read_rows(path), 0, None, options.every)
            problems = [SUITES[name].problem(row, "instruct") for row in rows]
            began = time.monotonic()
            exceptions, tests, wrong = judge(name, problems, sandbox)
            cells = [
                name,
                len(problems),
                len(problems) - len(wrong) - len(exceptions),
                f"{tests[0]}/{tests[1]}",
                f"{time.monotonic() - began:.0f}",
            ]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            failed |= bool(wrong)
            reasons = [*wrong.items(), *exceptions.items(), *left_out(problems)]
            notes += [f"{problem}: {reason}" for problem, reason in reasons]
    print("\n" + "\n".join(f"- {note}" for note in notes))
    raise SystemExit(int(failed))


def judge(
    name: str, problems: Sequence[Problem], sandbox: Sandbox
) -> tuple[dict[str, str], tuple[int, int], dict[str, str]]:
    """Problems that cannot be judged, (tests passed, tests), and references that do not pass."""
    contained_only = SUITES[name].trust == "contained_only"
    exceptions = find_untestable(problems, sandbox) if contained_only else {}
    judged = [problem for problem in problems if problem.problem_id not in exceptions]
    programs = (problem.program(problem.reference) for problem in judged)
    verdicts = list(track(sandbox.stream(programs), name, len(judged)))
    tests = (sum(sum(v.passed) for v in verdicts), sum(len(v.passed) for v in verdicts))
    wrong = {
        problem.problem_id: f"{verdict.status}, {verdict.error_type}, line {verdict.line}"
        for problem, verdict in zip(judged, verdicts, strict=True)
        if verdict.status != "passed"
    }
    return exceptions, tests, wrong


def left_out(problems: Sequence[Problem]) -> Iterator[tuple[str, str]]:
    """Inputs that nobody is asked, of the problems at hand."""
    present = {problem.problem_id for problem in problems}
    for (problem_id, given), reason in LEFT_OUT.items():
        if problem_id in present:
            yield problem_id, f"not asked {given}: {reason}"


if __name__ == "__main__":
    main()
