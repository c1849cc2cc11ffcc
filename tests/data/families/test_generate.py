from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate, instruction_pairs
from diffucoder.data.families.parts import FAMILIES
from diffucoder.data.families.tasks import every_task
from diffucoder.errors import BadParameters

MakeParams = Callable[..., ProblemsParams]


def test_splits_have_their_counts_and_share_no_composition(make_params: MakeParams) -> None:
    params = make_params()
    problems = generate(params, seed=0)
    assert Counter(problem.split for problem in problems) == params.counts
    assert len({problem.composition for problem in problems}) == len(problems)
    assert len({problem.problem_id for problem in problems}) == len(problems)


def test_references_pass_their_own_tests(make_params: MakeParams) -> None:
    for problem in generate(make_params(), seed=0):
        namespace: dict = {}
        exec(problem.reference, namespace)
        assert callable(namespace[problem.entry_point])
        assert len(problem.tests) == 6 and problem.check == ""
        for test in problem.tests:
            exec(test, namespace)


def test_the_seed_decides(make_params: MakeParams) -> None:
    params = make_params()
    assert generate(params, seed=3) == generate(params, seed=3)
    first, second = generate(params, seed=3), generate(params, seed=4)
    assert {p.composition for p in first} != {p.composition for p in second}
    pairs = instruction_pairs(first, params, seed=3)
    assert pairs == instruction_pairs(first, params, seed=3)
    assert pairs != instruction_pairs(first, params, seed=4)


def test_records_have_the_columns_of_the_table(make_params: MakeParams) -> None:
    record = generate(make_params(), seed=0)[0].record()
    assert set(record) == {
        "problem_id", "source", "split", "composition", "prompt", "entry_point", "reference",
        "tests", "check", "pass_rates", "setup", "harness",
    }  # fmt: skip


def test_pairs_come_from_generated_sft_problems_alone(make_params: MakeParams) -> None:
    params = make_params(pairs_per_problem=3)
    problems = generate(params, seed=0)
    from_file = replace(problems[0], source="file")
    pairs = instruction_pairs([from_file, *problems[1:]], params, seed=0)
    expected = {p.composition for p in problems[1:] if p.split == "sft"}
    assert Counter(row["composition"] for row in pairs) == dict.fromkeys(expected, 3)
    assert len({row["pair_id"] for row in pairs}) == len(pairs)


def test_pairs_of_a_problem_are_worded_differently(make_params: MakeParams) -> None:
    params = make_params(pairs_per_problem=8)
    prompts: dict[str, set[str]] = {}
    for row in instruction_pairs(generate(params, seed=0), params, seed=0):
        prompts.setdefault(row["composition"], set()).add(row["prompt"])
    assert min(len(wordings) for wordings in prompts.values()) >= 2
    assert sum(map(len, prompts.values())) / len(prompts) > 3


def test_clean_pairs_hold_the_references(make_params: MakeParams) -> None:
    params = make_params(mistake_share=0.0)
    problems = generate(params, seed=0)
    references = {problem.composition: problem.reference for problem in problems}
    for row in instruction_pairs(problems, params, seed=0):
        assert not row["flawed"]
        assert row["response"] == f"```python\n{references[row['composition']]}```"


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_flaws_come_as_often_as_asked(make_params: MakeParams, share: float) -> None:
    params = make_params(
        families={"dicts": 1.0},
        counts={"sft": 200, "rl": 0, "validation": 0, "heldout": 0},
        pairs_per_problem=10,
        mistake_share=share,
    )
    problems = generate(params, seed=0)
    references = {problem.composition: problem.reference for problem in problems}
    pairs = instruction_pairs(problems, params, seed=0)
    for row in pairs:
        wrong = row["response"] != f"```python\n{references[row['composition']]}```"
        assert row["flawed"] == wrong
    # A pair is flawed unless it is right at every part that can go wrong.
    risks = {
        task.composition: len(task.mistakable_slots()) for task in every_task(FAMILIES["dicts"])
    }
    chances = [1 - (1 - share) ** risks[row["composition"]] for row in pairs]
    spread = sum(p * (1 - p) for p in chances) ** 0.5
    assert abs(sum(row["flawed"] for row in pairs) - sum(chances)) <= 5 * spread


def test_problems_stay_clean_whatever_the_share_of_mistakes(make_params: MakeParams) -> None:
    clean, flawed = (make_params(mistake_share=share) for share in (0.0, 1.0))
    assert generate(clean, seed=0) == generate(flawed, seed=0)


def test_too_many_compositions_are_refused(make_params: MakeParams) -> None:
    params = make_params(families={"strings": 1.0})
    with pytest.raises(BadParameters, match="ask for at most 80 % of them"):
        generate(params, seed=0)
