"""What checkpoints are asked."""

import pandas as pd

from diffucoder.evaluation.requests import evenly_spaced, request_table


def test_evenly_spaced_takes_rows_from_the_whole_table() -> None:
    table = pd.DataFrame({"row": range(10)})
    assert evenly_spaced(table, 4)["row"].tolist() == [0, 2, 5, 7]
    assert evenly_spaced(table, None)["row"].tolist() == list(range(10))
    assert evenly_spaced(table, 99)["row"].tolist() == list(range(10))


def test_requests_ask_each_sample_of_each_problem() -> None:
    problems = pd.DataFrame({"problem_id": ["p0", "p1"], "prompt": "def add"})
    asked = request_table("heldout", problems, "grpo", "sampled", 2)
    pairs = asked[["problem_id", "sample"]].to_numpy().tolist()
    assert pairs == [["p0", 0], ["p0", 1], ["p1", 0], ["p1", 1]]
    assert set(asked["style"]) == {"instruct"}
