"""External suites as problem records, read from files in a folder.

| suite | file | problems |
|---|---|---|
| `humaneval` | HumanEval.jsonl.gz (openai/human-eval) | 164 |
| `humaneval_plus` | HumanEvalPlus.jsonl.gz (evalplus/humanevalplus_release) | 164 |
| `mbpp` | mbpp.jsonl (google-research), its test split, task ids 11 to 510 | 500 |
| `mbpp_sanitized` | sanitized-mbpp.json (google-research), the same ids | 257 |
| `mbpp_plus` | MbppPlus.jsonl.gz (evalplus/mbppplus_release) | 378 |
| `humaneval_single_line` | HumanEval-SingleLineInfilling.jsonl.gz | 1,033 |
| `humaneval_multi_line` | HumanEval-MultiLineInfilling.jsonl.gz | 5,815 |
| `humaneval_random_span` | HumanEval-RandomSpanInfilling.jsonl.gz | 1,640 |
| `humaneval_random_span_light` | HumanEval-RandomSpanInfillingLight.jsonl.gz | 164 |
| `bigcodebench_hard` | BigCodeBench_Hard.jsonl (bigcode-project) | 148 |

The infilling files are those of openai/human-eval-infilling. Records have the columns of the
problem table, with split `eval` and the suite as source.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffucoder.config.evaluation import Extraction
from diffucoder.data.tabular import read_rows
from diffucoder.data.tokenizer import MASK
from diffucoder.errors import BadData
from diffucoder.evaluation.suites.bigcodebench import bigcodebench_record
from diffucoder.evaluation.suites.humaneval import humaneval_record, infilling_record
from diffucoder.evaluation.suites.mbpp import TEST_IDS, mbpp_record
from diffucoder.evaluation.suites.plus import plus_record
from diffucoder.evaluation.suites.records import Record, Style
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.sanitise import sanitise

__all__ = [
    "STOPS",
    "SUITES",
    "Extraction",
    "Record",
    "Style",
    "Suite",
    "Trust",
    "assemble",
    "load",
    "trust",
]

# `unforgeable`: tests and expected answers never enter the candidate's process.
# `contained_only`: they do, and a candidate that looks for them can claim to have passed.
Trust = Literal["unforgeable", "contained_only"]

# Where a base model's completion of a function has ended (the stop strings EvalPlus uses).
STOPS = ("\ndef ", "\nclass ", "\nassert ", "\nif __name__", "\nprint(", "\n```", "\n#", "\n@")


@dataclass(frozen=True)
class Suite:
    """Where a suite lies, how its rows become records, and what its verdicts are worth.

    Attributes:
        file: name of its file.
        record: a row as a record.
        trust: whether a candidate could forge a verdict.
        chosen: which rows belong to it.
    """

    file: str
    record: Callable[[Mapping[str, Any], Style], Record]
    trust: Trust = "unforgeable"
    chosen: Callable[[Mapping[str, Any]], bool] = lambda row: True


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
    except (ValueError, KeyError) as error:
        raise BadData(
            f"{path}: not the {name} file ({type(error).__name__}: {error}); fetch it again"
        ) from error


def assemble(
    prompt: str,
    text: str,
    style: Style = "instruct",
    extraction: Extraction = "fenced",
    entry_point: str | None = None,
) -> str | None:
    """The program that a completion amounts to, or None when there is none.

    Args:
        prompt: the prompt of the problem.
        text: the model's completion.
        style: `instruct` takes a program out of the answer; `completion` continues the prompt
            up to the first of `STOPS`; `infilling` puts the text into the prompt's hole.
        extraction: `fenced` takes the code block of an answer, and a continued prompt as it is;
            `sanitised` takes from either what `diffucoder.rewards.sanitise` makes of it.
        entry_point: the function asked for, which sanitising keeps.
    """
    if style == "infilling":
        return prompt.replace(MASK, text)
    if style == "completion":
        ends = [at for stop in STOPS if (at := text.find(stop)) >= 0]
        text = prompt + text[: min(ends, default=len(text))]
    if extraction == "sanitised":
        return sanitise(text, entry_point)
    return text if style == "completion" else extract_code(text)


def trust(suite: str) -> Trust:
    """What the verdicts of a suite are worth; sets of problems of our own are unforgeable."""
    return SUITES[suite].trust if suite in SUITES else "unforgeable"


def _is_test(row: Mapping[str, Any]) -> bool:
    return row["task_id"] in TEST_IDS


SUITES: dict[str, Suite] = {
    "humaneval": Suite("HumanEval.jsonl.gz", humaneval_record),
    "humaneval_plus": Suite("HumanEvalPlus.jsonl.gz", plus_record),
    "mbpp": Suite("mbpp.jsonl", mbpp_record, chosen=_is_test),
    "mbpp_sanitized": Suite("sanitized-mbpp.json", mbpp_record, chosen=_is_test),
    "mbpp_plus": Suite("MbppPlus.jsonl.gz", plus_record),
    **{
        f"humaneval_{kind}": Suite(f"HumanEval-{file}.jsonl.gz", infilling_record)
        for kind, file in {
            "single_line": "SingleLineInfilling",
            "multi_line": "MultiLineInfilling",
            "random_span": "RandomSpanInfilling",
            "random_span_light": "RandomSpanInfillingLight",
        }.items()
    },
    "bigcodebench_hard": Suite(
        "BigCodeBench_Hard.jsonl", bigcodebench_record, trust="contained_only"
    ),
}
