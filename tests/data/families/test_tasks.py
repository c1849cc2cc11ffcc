from random import Random

import pytest

from diffucoder.data.families.inputs import GENERATORS
from diffucoder.data.families.parts import FAMILIES
from diffucoder.data.families.tasks import ENTRY_POINT, GeneratedTask, draw_tasks, every_task
from diffucoder.errors import BadParameters


def by_name(composition: str) -> GeneratedTask:
    family = FAMILIES[composition.split("/")[0]]
    return next(task for task in every_task(family) if task.composition == composition)


def run(code: str, value: object) -> object:
    namespace: dict = {}
    exec(code, namespace)
    return namespace[ENTRY_POINT](value)


@pytest.mark.parametrize(
    ("composition", "value", "right", "wrong"),
    [
        ("lists/list/above-3/square/sum", [3, 4, -5, 5], 41, 50),
        ("lists/list/all/size/descending", [1, -3, 2], [3, 2, 1], [-3, 1, 2]),
        ("numbers/upto/multiple-3/same/list", 6, [3, 6], [3]),
        ("numbers/digits/odd/same/distinct", 1313, 2, 4),
        ("dicts/values/least-3/double/largest", {"a": 3, "b": 2, "c": 5}, 10, 10),
        ("strings/text/letters/capital/reversed", "a1b", "BA", "A1B"),
    ],
)
def test_code_does_what_the_parts_say(
    composition: str, value: object, right: object, wrong: object
) -> None:
    task = by_name(composition)
    assert run(task.code(), value) == right
    assert run(task.code(task.mistakable_slots()), value) == wrong


def test_a_mistake_is_made_only_where_asked() -> None:
    task = by_name("numbers/upto/above-3/same/descending")
    assert task.mistakable_slots() == [0, 1, 3]
    assert len({task.code(places) for places in ([], [0], [1], [3], [0, 1, 3])}) == 5
    assert task.code([2]) == task.code()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_composition_runs_and_has_a_name_of_its_own(name: str) -> None:
    tasks = list(every_task(FAMILIES[name]))
    assert len({task.composition for task in tasks}) == len(tasks)
    random = Random(0)
    for task in random.sample(tasks, 90):
        value = GENERATORS[task.choices[0].part.inputs](random)
        assert run(task.code(), value) is not None
        prompt = task.prompt(random)
        assert f"{ENTRY_POINT}({task.family.argument})" in prompt
        assert "{" not in prompt and "{" not in task.code()


def test_wordings_vary() -> None:
    task, random = by_name("lists/list/above-3/square/sum"), Random(0)
    prompts = {task.prompt(random) for _ in range(200)}
    # Two openings, and two wordings each of the filter, the map and the aggregate.
    assert len(prompts) == 16
    assert all("3" in prompt for prompt in prompts)


def test_draws_are_distinct_and_follow_the_shares() -> None:
    tasks = draw_tasks({"lists": 3.0, "dicts": 1.0, "numbers": 0.0, "strings": 0.3}, 430, Random(0))
    assert len({task.composition for task in tasks}) == 430
    names = [task.family.name for task in tasks]
    counts = [names.count(name) for name in ("lists", "dicts", "numbers", "strings")]
    assert counts == [300, 100, 0, 30]
    # Mixed, so that every split has its part of each family.
    assert 0 < names[:43].count("dicts") < 25


def test_parts_are_drawn_evenly_whatever_their_constants() -> None:
    tasks = draw_tasks({"numbers": 1.0}, 600, Random(0))
    plain = sum(task.choices[1].part.key == "even" for task in tasks)
    constant = sum(task.choices[1].part.key == "above" for task in tasks)
    # The plain part runs out of compositions a little earlier.
    assert 0.5 < plain / constant < 1.2


def test_more_compositions_than_there_are_is_an_error() -> None:
    room = sum(1 for _ in every_task(FAMILIES["strings"]))
    most = int(0.8 * room)
    assert len(draw_tasks({"strings": 1.0}, most, Random(0))) == most
    with pytest.raises(BadParameters, match=f"{most + 1} of {most + 1} compositions fall to 'str"):
        draw_tasks({"strings": 1.0}, most + 1, Random(0))
