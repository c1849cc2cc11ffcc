"""Problems from Parquet and JSONL files, in the project's schema or that of known datasets."""

from collections.abc import Callable, Iterable

import numpy as np

from diffucoder.config.problems import HardSplitParams, ProblemFileParams
from diffucoder.data.problems import Problem
from diffucoder.data.published import humaneval_check, mbpp_code, mbpp_tests
from diffucoder.data.python_source import called_function
from diffucoder.data.tabular import Row, read_rows
from diffucoder.errors import BadData


def read_problems(params: ProblemFileParams) -> list[Problem]:
    """Read one file; its columns tell its format.

    | columns | format |
    |---|---|
    | problem_id, prompt, entry_point, reference, tests or check | the project's own tables |
    | id, question, test_cases, inferences | AceCode |
    | task_id, text or prompt, code, test_list | MBPP, whole or sanitized |
    | task_id, prompt, entry_point, canonical_solution, test | HumanEval |

    A file of the project's own format may also have the other columns of `problems.Problem`.

    Args:
        params: The path, the split that its problems belong to, and how to choose hard ones.

    Returns:
        The problems, in the file's order.

    Raises:
        BadData: If the file is unreadable, a row has other columns, an id occurs twice, or the
            hard split is requested of problems without pass rates.
    """
    problems = [_problem(row, params, number) for number, row in enumerate(read_rows(params.path))]
    seen: set[str] = set()
    for problem in problems:
        if problem.problem_id in seen:
            raise BadData(
                f"{params.path}: the id {problem.problem_id!r} comes twice; make ids unique"
            )
        seen.add(problem.problem_id)
    return hard_split(problems, params.hard) if params.hard else problems


def hard_split(problems: list[Problem], params: HardSplitParams) -> list[Problem]:
    """Keep problems that reference models mostly fail, but not evenly.

    As in the released coupled-GRPO recipe: the mean pass rate is at or below a percentile of all
    means, its standard deviation at or above a percentile of all deviations.

    Args:
        problems: Problems with two pass rates or more.
        params: The two percentiles.

    Returns:
        The hard problems, in order.

    Raises:
        BadData: If a problem has fewer than two pass rates.
    """
    if few := [problem.problem_id for problem in problems if len(problem.pass_rates) < 2]:
        raise BadData(
            f"the hard split needs two pass rates or more for each problem; {len(few)} have "
            f"fewer, the first is {few[0]!r}: add `pass_rates`, or set `hard: null`"
        )
    if not problems:
        return []
    means = np.array([np.mean(problem.pass_rates) for problem in problems])
    deviations = np.array([np.std(problem.pass_rates) for problem in problems])
    hard = (means <= np.percentile(means, params.mean_percentile)) & (
        deviations >= np.percentile(deviations, params.std_percentile)
    )
    return [problem for problem, keep in zip(problems, hard, strict=True) if keep]


def require_disjoint(problems: Iterable[Problem]) -> None:
    """Check that no composition is in two splits, and no id occurs twice.

    Args:
        problems: Problems of all sources.

    Raises:
        BadData: If one does; the message names it.
    """
    splits: dict[str, str] = {}
    ids: set[str] = set()
    for problem in problems:
        if problem.problem_id in ids:
            raise BadData(f"problem {problem.problem_id!r} comes from two files; keep one")
        ids.add(problem.problem_id)
        other = splits.setdefault(problem.composition, problem.split)
        if other != problem.split:
            raise BadData(
                f"composition {problem.composition!r} is in the splits {other!r} and "
                f"{problem.split!r}; what is trained on must not be measured on"
            )


def _problem(row: Row, params: ProblemFileParams, number: int) -> Problem:
    for needed, convert in FORMATS.items():
        if needed <= row.keys():
            try:
                return convert(row, params)
            except BadData as error:
                raise BadData(f"{params.path}: row {number}: {error}") from error
            except (KeyError, TypeError, ValueError, SyntaxError) as error:
                raise BadData(f"{params.path}: row {number} cannot be used ({error!r})") from error
    raise BadData(
        f"{params.path}: row {number} has the columns {sorted(row)}; expected those of one of "
        f"{[sorted(columns) for columns in FORMATS]}"
    )


def _own(row: Row, params: ProblemFileParams) -> Problem:
    return Problem.from_record(
        row
        | {
            "problem_id": str(row["problem_id"]),
            "source": str(row.get("source") or params.path),
            "split": params.split,
            "composition": str(row.get("composition") or row["problem_id"]),
            "pass_rates": _rates(row.get("pass_rates")),
        }
    )


def _acecode(row: Row, params: ProblemFileParams) -> Problem:
    tests = list(row["test_cases"])
    return Problem(
        problem_id=str(row["id"]),
        source=params.path,
        split=params.split,
        composition=str(row["id"]),
        prompt=row["question"],
        entry_point=called_function(tests[:1]),
        reference="",
        tests=tests,
        pass_rates=_rates([inference["pass_rate"] for inference in row["inferences"]]),
    )


def _mbpp(row: Row, params: ProblemFileParams) -> Problem:
    code = mbpp_code(row)
    return Problem(
        problem_id=f"MBPP/{row['task_id']}",
        source=params.path,
        split=params.split,
        composition=f"MBPP/{row['task_id']}",
        # The task alone does not say what the function is called.
        prompt=f"{row.get('text') or row['prompt']}\nIt must pass:\n{row['test_list'][0]}",
        entry_point=called_function(row["test_list"], code),
        reference=code,
        tests=mbpp_tests(row),
    )


def _humaneval(row: Row, params: ProblemFileParams) -> Problem:
    return Problem(
        problem_id=row["task_id"],
        source=params.path,
        split=params.split,
        composition=row["task_id"],
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        reference=row["prompt"] + row["canonical_solution"],
        tests=[],
        check=humaneval_check(row, row["prompt"]),
    )


FORMATS: dict[frozenset[str], Callable[[Row, ProblemFileParams], Problem]] = {
    frozenset({"problem_id", "prompt", "entry_point", "reference"}): _own,
    frozenset({"id", "question", "test_cases", "inferences"}): _acecode,
    frozenset({"task_id", "text", "code", "test_list"}): _mbpp,
    frozenset({"task_id", "prompt", "code", "test_list"}): _mbpp,
    frozenset({"task_id", "prompt", "entry_point", "canonical_solution", "test"}): _humaneval,
}


def _rates(values: Iterable[float] | None) -> list[float]:
    return [float(value) for value in values] if values is not None else []
