"""External suites as problem records, read from files in a folder.

`humaneval`       HumanEval.jsonl.gz (openai/human-eval), 164 problems
`mbpp`            mbpp.jsonl (google-research, task ids 11 to 510: its test split), 500 problems
`mbpp_sanitized`  sanitized-mbpp.json (google-research, the same ids), 257 problems
`humaneval_single_line`, `humaneval_multi_line`, `humaneval_random_span`
                  HumanEval-SingleLineInfilling.jsonl.gz and so on (openai/human-eval-infilling),
                  1033, 5815 and 1640 holes in HumanEval's solutions

Records have the columns of the problem table, with split `eval` and the suite as source.
"""

import ast
import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffucoder.data.tokenizer import MASK
from diffucoder.errors import BadData
from diffucoder.rewards.extract import extract_code, parse

Record = dict[str, Any]
Style = Literal["instruct", "completion", "infilling"]

# MBPP's own split by task id: 1-10 prompts, 11-510 test, 511-600 validation, 601-974 training.
_MBPP_TEST = range(11, 511)

# Where a base model's completion of a function has ended (the stop strings EvalPlus uses).
STOPS = ("\ndef ", "\nclass ", "\nassert ", "\nif __name__", "\nprint(", "\n```", "\n#", "\n@")

_ASK = "Write one self-contained Python program and put it in a single fenced code block."


@dataclass(frozen=True)
class Suite:
    """Where a suite lies and how its rows become records."""

    file: str
    record: Callable[[Mapping[str, Any], Style], Record]
    chosen: Callable[[Mapping[str, Any]], bool]


def load(name: str, folder: Path, style: Style = "instruct") -> list[Record]:
    """The problems of a suite.

    Args:
        name: a key of `SUITES`.
        folder: where the suite's file lies, unchanged from its source.
        style: `instruct` for prompts that ask for a program, `completion` for the bare beginning
            of one, to be continued by a base model. Suites of holes have one style, `infilling`:
            a program with `<|mask|>` where something is missing.

    Raises:
        FileNotFoundError: if the file is not in the folder; says which.
        BadData: if there is no such suite, or the file is not what it should be.
    """
    if name not in SUITES:
        raise BadData(f"no suite {name!r}: choose one of {sorted(SUITES)}")
    suite = SUITES[name]
    path = folder / suite.file
    if not path.exists():
        raise FileNotFoundError(f"{suite.file} is not in {folder}")
    try:
        return [suite.record(row, style) for row in read_rows(path) if suite.chosen(row)]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadData(
            f"{path}: not the {name} file ({type(error).__name__}: {error}); fetch it again"
        ) from error


def assemble(prompt: str, text: str, style: Style = "instruct") -> str | None:
    """The program that a completion amounts to, or None when there is none.

    Args:
        prompt: the prompt of the problem.
        text: the model's completion.
        style: `instruct` takes the code block of the answer; `completion` continues the prompt
            up to the first of `STOPS`; `infilling` puts the text into the prompt's hole.
    """
    if style == "infilling":
        return prompt.replace(MASK, text)
    if style == "instruct":
        return extract_code(text)
    ends = [at for stop in STOPS if (at := text.find(stop)) >= 0]
    return prompt + text[: min(ends, default=len(text))]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON or JSON lines file, compressed or not."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        if path.suffix == ".json":
            return json.load(file)
        return [json.loads(line) for line in file if line.strip()]


def humaneval_record(row: Mapping[str, Any], style: Style = "instruct") -> Record:
    """A HumanEval row as a problem.

    Some tests call helpers that the prompt defines. They go into the check, where the candidate
    cannot replace them.
    """
    prompt = row["prompt"]
    return _record(
        row["task_id"],
        "humaneval",
        prompt if style == "completion" else f"{_ASK}\n```python\n{prompt.rstrip()}\n```",
        row["entry_point"],
        prompt + row["canonical_solution"],
        check=f"{_helpers(prompt, row['entry_point'])}\n{row['test']}",
    )


def infilling_record(row: Mapping[str, Any], style: Style = "infilling") -> Record:
    """A HumanEval solution with a hole as a problem."""
    before, after = row["prompt"], row["suffix"]
    whole = before + row["canonical_solution"] + after
    return _record(
        row["task_id"],
        "humaneval_infilling",
        before + MASK + after,
        row["entry_point"],
        whole,
        check=f"{_helpers(whole, row['entry_point'])}\n{row['test']}",
    )


def mbpp_record(row: Mapping[str, Any], style: Style = "instruct") -> Record:
    """A row of MBPP, or of its sanitized half, as a problem; each assert is one test."""
    asserts = row["test_list"]
    setup = [*row.get("test_imports", []), row.get("test_setup_code", "")]
    text = row.get("text") or row["prompt"]
    code = row["code"].replace("\r\n", "\n")
    example = f"{text}\nYour program must pass this test: {asserts[0]}"
    return _record(
        f"MBPP/{row['task_id']}",
        "mbpp_sanitized" if "test_imports" in row else "mbpp",
        f'"""\n{text}\n{asserts[0]}\n"""\n' if style == "completion" else f"{_ASK}\n{example}",
        _tested_function(asserts, code),
        code,
        tests=["\n".join([*(line for line in setup if line), test]) for test in asserts],
    )


def _record(
    problem_id: str,
    source: str,
    prompt: str,
    entry_point: str,
    reference: str,
    tests: Iterable[str] = (),
    check: str = "",
) -> Record:
    return {
        "problem_id": problem_id,
        "source": source,
        "split": "eval",
        "composition": "",
        "prompt": prompt,
        "entry_point": entry_point,
        "reference": reference,
        "tests": list(tests),
        "check": check,
        "pass_rates": [],
    }


def _helpers(prompt: str, entry_point: str) -> str:
    """Imports and functions of a prompt other than the one to be written."""
    tree = parse(prompt)
    kept = [
        node
        for node in (tree.body if tree else [])
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.FunctionDef) and node.name != entry_point)
    ]
    return "\n".join(ast.unparse(node) for node in kept)


def _tested_function(asserts: Iterable[str], code: str) -> str:
    """The function of the reference that the asserts call first."""
    tree = parse(code)
    defined = {node.name for node in (tree.body if tree else []) if hasattr(node, "name")}
    for source in asserts:
        for node in ast.walk(ast.parse(source)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in defined:
                return called.id
    raise ValueError("no test calls a function of the reference")


_HOLES = {"single_line": "SingleLine", "multi_line": "MultiLine", "random_span": "RandomSpan"}

SUITES: dict[str, Suite] = {
    "humaneval": Suite("HumanEval.jsonl.gz", humaneval_record, lambda row: True),
    **{
        f"humaneval_{name}": Suite(
            f"HumanEval-{file}Infilling.jsonl.gz", infilling_record, lambda row: True
        )
        for name, file in _HOLES.items()
    },
    "mbpp": Suite("mbpp.jsonl", mbpp_record, lambda row: row["task_id"] in _MBPP_TEST),
    "mbpp_sanitized": Suite(
        "sanitized-mbpp.json", mbpp_record, lambda row: row["task_id"] in _MBPP_TEST
    ),
}
