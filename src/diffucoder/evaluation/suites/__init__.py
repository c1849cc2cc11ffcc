"""External suites as problems, read from files in a folder.

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

The infilling files are those of openai/human-eval-infilling. Problems have the split `eval` and
the suite as source.

A new suite is one module of this package with a `SUITES` of its own, which is found by being
there, and one entry of `evaluation.suites` in the parameters. A suite outside of this package is
named by its import path, such as `my_package.my_module.MY_SUITE`.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from diffucoder.data.problems import Problem
from diffucoder.errors import BadData
from diffucoder.evaluation.suites.base import Suite, Trust
from diffucoder.evaluation.suites.options import Style
from diffucoder.imports import load_object

__all__ = ["SUITES", "Suite", "Trust", "find_suite", "load", "suite_label", "trust"]

# The problems that the project makes itself and keeps out of training.
HELD_OUT = "heldout"


def _suites_of_this_package() -> dict[str, Suite]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {
        name: suite for module in modules for name, suite in getattr(module, "SUITES", {}).items()
    }


# Each suite by the name that parameters, tables and files use.
SUITES: dict[str, Suite] = _suites_of_this_package()


def find_suite(name: str) -> Suite:
    """The suite of a name.

    Args:
        name: A key of `SUITES`, or the import path of a `Suite`.

    Raises:
        BadData: If there is no such suite.
        BadParameters: If the import path leads nowhere.
    """
    if name in SUITES:
        return SUITES[name]
    own = load_object(name, "suite") if "." in name else None
    if not isinstance(own, Suite):
        raise BadData(
            f"no suite {name!r}: choose one of {sorted(SUITES)}, or give the import path of a "
            "diffucoder.evaluation.suites.Suite"
        )
    return own


def load(name: str, folder: Path, style: Style = "instruct") -> list[Problem]:
    """Read the problems of a suite.

    Args:
        name: A key of `SUITES`, or the import path of a `Suite`.
        folder: Where the suite's file lies, unchanged from its source.
        style: `instruct` for prompts that ask for a program, `completion` for the bare beginning
            of one, to be continued by a base model. Suites of holes have one style, `infilling`:
            a program with `<|mask|>` where something is missing.

    Returns:
        The problems in the order of the file.

    Raises:
        FileNotFoundError: If the file is not in the folder; says which.
        BadData: If there is no such suite, or the file is not what it should be.
    """
    from diffucoder.data.tabular import read_rows

    suite = find_suite(name)
    path = folder / suite.file
    if not path.exists():
        raise FileNotFoundError(f"{suite.file} is not in {folder}")
    try:
        return [suite.problem(row, style) for row in read_rows(path) if suite.includes(row)]
    except (ValueError, KeyError) as error:
        raise BadData(
            f"{path}: not the {name} file ({type(error).__name__}: {error}); fetch it again"
        ) from error


def trust(name: str) -> Trust:
    """What the verdicts of a suite are worth; the project's own problems are unforgeable."""
    return "unforgeable" if name == HELD_OUT else find_suite(name).trust


def suite_label(name: str) -> str:
    """The name of a suite in tables and figures, with a warning where a number could be forged."""
    return "held-out" if name == HELD_OUT else find_suite(name).label
