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

from diffucoder.data.tabular import read_rows
from diffucoder.evaluation.scoring import program, unjudgeable
from diffucoder.evaluation.suites import SUITES, Record
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
            records = [SUITES[name].record(row, "instruct") for row in rows]
            began = time.monotonic()
            exceptions, tests, wrong = judge(name, records, sandbox)
            cells = [
                name,
                len(records),
                len(records) - len(wrong) - len(exceptions),
                f"{tests[0]}/{tests[1]}",
                f"{time.monotonic() - began:.0f}",
            ]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            failed |= bool(wrong)
            reasons = [*wrong.items(), *exceptions.items(), *left_out(records)]
            notes += [f"{problem}: {reason}" for problem, reason in reasons]
    print("\n" + "\n".join(f"- {note}" for note in notes))
    raise SystemExit(int(failed))


def judge(
    name: str, records: Sequence[Record], sandbox: Sandbox
) -> tuple[dict[str, str], tuple[int, int], dict[str, str]]:
    """Problems that cannot be judged, (tests passed, tests), and references that do not pass."""
    contained_only = SUITES[name].trust == "contained_only"
    exceptions = unjudgeable(records, sandbox) if contained_only else {}
    judged = [record for record in records if record["problem_id"] not in exceptions]
    programs = (program(record["reference"], record) for record in judged)
    verdicts = list(track(sandbox.stream(programs), name, len(judged)))
    tests = (sum(sum(v.passed) for v in verdicts), sum(len(v.passed) for v in verdicts))
    wrong = {
        record["problem_id"]: f"{verdict.status}, {verdict.error_type}, line {verdict.line}"
        for record, verdict in zip(judged, verdicts, strict=True)
        if verdict.status != "passed"
    }
    return exceptions, tests, wrong


def left_out(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Inputs that nobody is asked, of the problems at hand."""
    present = {record["problem_id"] for record in records}
    for (problem, given), reason in LEFT_OUT.items():
        if problem in present:
            yield problem, f"not asked {given}: {reason}"


if __name__ == "__main__":
    main()
