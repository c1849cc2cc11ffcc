"""HumanEval+ and MBPP+ (EvalPlus: Liu et al., arXiv 2305.01210): many inputs, one reference.

Each base and plus input is one test, with the sandbox's limits to itself; a program passes when
it passes all. The judge runs the reference for the expected answer, so no answer is stored, and
none reaches the candidate.
"""

import ast
import inspect
from collections.abc import Mapping
from math import isfinite
from typing import Any

from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites import oracles
from diffucoder.evaluation.suites.base import Suite, ask, fenced
from diffucoder.evaluation.suites.options import Style

# Problems that EvalPlus compares by a rule other than equality, by number.
HUMANEVAL_RULES = {32: "root"}
MBPP_RULES = {
    **dict.fromkeys((2, 7, 111, 140, 232, 249, 579, 769), "members"),
    **dict.fromkeys((737, 787, 794), "not_none"),
    164: "anything",
    295: "zero",
    558: "digits",
    581: "pyramid",
}

# Inputs of a problem that no one is asked, with the reason; by problem and repr of the input.
LEFT_OUT = {
    ("Mbpp/255", "[['Dog', 'Cat', 'CatBird', 'Bird', 'Fish'], 77]"): (
        "the answer has 1,663,740 tuples of 77 and takes 1.1 GB, in each of three processes"
    ),
}

_SUITE_OF = {"HumanEval": "humaneval_plus", "Mbpp": "mbpp_plus"}


def plus_problem(row: Mapping[str, Any], style: Style = "instruct") -> Problem:
    """A row of HumanEval+ or MBPP+ as a problem; each input is one test."""
    family, _, number = row["task_id"].partition("/")
    prompt, entry_point = row["prompt"], row["entry_point"]
    rules = HUMANEVAL_RULES if family == "HumanEval" else MBPP_RULES
    reference = prompt + row["canonical_solution"]
    return Problem(
        problem_id=row["task_id"],
        source=_SUITE_OF[family],
        split="eval",
        prompt=prompt if style == "completion" else ask(fenced(prompt)),
        entry_point=entry_point,
        reference=reference,
        tests=[f"assert right({entry_point}, {_literal(given)})" for given in inputs(row)],
        setup=_setup(reference, entry_point, rules.get(int(number), ""), row["atol"]),
    )


def inputs(row: Mapping[str, Any]) -> list[list[Any]]:
    """The base and plus inputs of a row, as lists of positional arguments, without `LEFT_OUT`."""
    family, _, number = row["task_id"].partition("/")
    # A problem without plus inputs has an empty object for them.
    listed = [*row["base_input"], *row["plus_input"]]
    if family == "Mbpp":
        listed = [_as_python(int(number), given) for given in listed]
    return [given for given in listed if (row["task_id"], repr(given)) not in LEFT_OUT]


def _setup(reference: str, entry_point: str, rule: str, atol: float) -> str:
    """The oracle, the reference within a function of its own, and `right(candidate, inputs)`."""
    body = [*ast.parse(reference).body, *ast.parse(f"return {entry_point}").body]
    return "\n".join(
        [
            inspect.getsource(oracles),
            "from math import inf, nan",
            "def canonical_solution():",
            *(f"    {line}" for node in body for line in ast.unparse(node).split("\n")),
            "def right(candidate, inputs):",
            f"    return agrees(candidate, canonical_solution(), inputs, {rule!r}, {atol!r})",
        ]
    )


def _literal(value: Any) -> str:
    """Source of a value; `repr` but for complex numbers that are not finite."""
    if isinstance(value, complex) and not (isfinite(value.real) and isfinite(value.imag)):
        return f"complex({value.real!r}, {value.imag!r})"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


# JSON has no tuples, sets and complex numbers: MBPP+ keeps them as lists and strings. Which
# argument of which problem was what is written in evalplus's `data/mbpp.py`.
_ALL_TUPLES = {
    2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726,
    740, 744, 809,
}  # fmt: skip
_LISTS_OF_TUPLES = {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
_FIRST_A_LIST_OF_TUPLES = {75, 413, 444, 753}
_FIRST_A_TUPLE = {250, 307, 405, 446, 617, 720, 763, 808}
_SECOND_A_TUPLE = {106, 750}
_TUPLES_OF_TUPLES = {259, 278, 401, 445}
_TUPLES_ALL_THE_WAY = {580, 615, 791}


def _as_python(number: int, given: list[Any]) -> list[Any]:
    """The arguments of an MBPP+ problem as the reference takes them."""
    first, rest = given[0], given[1:]
    if number in _ALL_TUPLES:
        return [tuple(part) for part in given]
    if number in _LISTS_OF_TUPLES:
        return [[tuple(item) for item in part] for part in given]
    if number in _FIRST_A_LIST_OF_TUPLES:
        return [[tuple(item) for item in first], *rest]
    if number in _FIRST_A_TUPLE:
        return [tuple(first), *rest]
    if number in _SECOND_A_TUPLE:
        return [first, tuple(given[1])]
    if number in _TUPLES_OF_TUPLES:
        return [tuple(map(_tuple_of_list, part)) for part in given]
    if number in _TUPLES_ALL_THE_WAY:
        return [_tuples(part) for part in given]
    match number:
        case 115:
            return [[set(item) if isinstance(item, list) and item else {} for item in first]]
        case 124:
            return [float(first), complex(given[1])]
        case 252:
            return [complex(first)]
        case 722:
            return [{key: tuple(value) for key, value in first.items()}, *rest]
    return given


def _tuple_of_list(item: Any) -> Any:
    return tuple(item) if isinstance(item, list) else item


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


SUITES = {
    "humaneval_plus": Suite("HumanEval+", "HumanEvalPlus.jsonl.gz", plus_problem),
    "mbpp_plus": Suite("MBPP+", "MbppPlus.jsonl.gz", plus_problem),
}
