"""Evaluation through its node: a real worker process, a tiny random model, the real sandbox."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.config.evaluation import EvaluationParams
from diffucoder.decoding import trace
from diffucoder.errors import BadData
from diffucoder.evaluation.schemas import Completions, PassAtK
from diffucoder.pipelines.evaluation.nodes import evaluate_checkpoints

Parameters = Callable[..., dict[str, Any]]


def problem(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "problem_id": f"p{number}",
        "split": "heldout",
        "prompt": f"def add_{number}",
        "entry_point": "add",
        "tests": ["assert add(1) == 2"],
        "check": "",
    } | changes


def of_all(path: Path) -> dict[str, Path]:
    """The same directory for every checkpoint."""
    return dict.fromkeys(CHECKPOINTS, path)


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_environment_has_valid_parameters(parameters: Parameters, env: str) -> None:
    EvaluationParams(**parameters(env, "evaluation"))


@pytest.mark.slow
def test_checkpoints_side_by_side(
    tmp_path: Path, parameters: Parameters, checkpoint: Path, benchmarks_dir: Path
) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name in ("HumanEval.jsonl.gz", "HumanEval-SingleLineInfilling.jsonl.gz"):
        shutil.copy(benchmarks_dir / name, folder)
    changes = {"work": str(tmp_path / "work"), "suites_folder": str(folder), "trace": 2}
    params = EvaluationParams(**parameters("test", "evaluation", **changes))
    rows = [problem(0), problem(1), problem(2, prompt="x" * 60), problem(3, split="rl")]
    table = pd.DataFrame(rows)

    completions, pass_at_k, notes = evaluate_checkpoints(table, params, 0, **of_all(checkpoint))

    Completions.validate(completions)
    PassAtK.validate(pass_at_k)
    counts = completions.groupby(["checkpoint", "decoding"])["problem_id"].agg(list).to_dict()
    assert counts == {
        ("adapted", "sampled"): ["p0", "p1"],
        ("adapted", "greedy"): ["p0", "p1"],
        ("instruct", "sampled"): ["p0", "p0", "p1", "p1"],
        ("instruct", "greedy"): ["p0", "p1"],
        ("grpo", "sampled"): ["p0", "p0", "p1", "p1"],
        ("grpo", "greedy"): ["p0", "p1"],
    }
    # The same weights under three names meet the same random numbers.
    texts = completions[completions["decoding"] == "sampled"].set_index("checkpoint")["text"]
    assert texts["instruct"].tolist() == texts["grpo"].tolist()
    assert texts["adapted"].tolist() == texts["grpo"].tolist()[::2]

    estimated = pass_at_k.set_index(["checkpoint", "decoding", "k"])["n_problems"].to_dict()
    assert set(estimated.values()) == {2}
    assert ("grpo", "sampled", 2) in estimated
    assert ("adapted", "sampled", 2) not in estimated

    assert notes["sandbox_tier"] != ""
    assert [item["suite"] for item in notes["skipped"]] == ["mbpp", "mbpp_sanitized"]
    assert "mbpp.jsonl" in notes["skipped"][0]["reason"]
    assert "sanitized-mbpp.json" in notes["skipped"][1]["reason"]
    left_out = {(item["checkpoint"], item["problem_id"]) for item in notes["excluded"]}
    assert {(name, "p2") for name in ("adapted", "instruct", "grpo")} <= left_out
    external = sorted(name for name, task in left_out if task.startswith("HumanEval/"))
    assert external == ["adapted"] * 2 + ["grpo"] * 2 + ["instruct"] * 2
    assert len([name for name, task in left_out if task.startswith("SingleLine")]) == 2

    traces = trace.read(tmp_path / "work" / "traces" / "part-00000.parquet")
    keys = ["checkpoint", "suite", "problem_id", "sample", "decoding"]
    for row in completions.itertuples():
        told = traces.pop("/".join(str(getattr(row, key)) for key in keys))
        steps = dict(zip(told.position, told.reveal_step, strict=True))
        assert [steps[place] for place in range(row.length)] == list(row.reveal_step)
    assert not traces


PLUS = {
    "task_id": "HumanEval/0",
    "prompt": "def f(x):\n",
    "canonical_solution": "    return x\n",
    "entry_point": "f",
    "base_input": [[1]],
    "plus_input": [[2]],
    "atol": 0,
}
IN_PROCESS = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": "def f(x):\n",
    "instruct_prompt": "f",
    "canonical_solution": "    return x\n",
    "entry_point": "f",
    "test": "import unittest\nclass TestCases(unittest.TestCase):\n"
    "    def test_one(self):\n        self.assertEqual(f(1), 1)\n",
}


@pytest.mark.slow
def test_suites_by_name_with_what_their_verdicts_are_worth(
    tmp_path: Path, parameters: Parameters, checkpoint: Path
) -> None:
    with gzip.open(tmp_path / "HumanEvalPlus.jsonl.gz", "wt") as file:
        file.write(json.dumps(PLUS))
    lacking = IN_PROCESS | {
        "task_id": "BigCodeBench/1",
        "canonical_solution": "    import no_such_library\n",
    }
    rows = [json.dumps(row) for row in (IN_PROCESS, lacking)]
    (tmp_path / "BigCodeBench_Hard.jsonl").write_text("\n".join(rows))
    asked = {
        "checkpoints": ["adapted"], "problems": None, "samples": 1, "extraction": "sanitised"
    }  # fmt: skip
    changes = {
        "work": str(tmp_path / "work"),
        "suites_folder": str(tmp_path),
        "suites": {"humaneval_plus": asked, "bigcodebench_hard": asked},
    }
    params = EvaluationParams(**parameters("test", "evaluation", **changes))

    completions, pass_at_k, notes = evaluate_checkpoints(
        pd.DataFrame([problem(0)]), params, 0, **of_all(checkpoint)
    )

    Completions.validate(completions)
    PassAtK.validate(pass_at_k)
    trust = {"heldout": "unforgeable", "humaneval_plus": "unforgeable",
             "bigcodebench_hard": "contained_only"}  # fmt: skip
    for table in (completions, pass_at_k):
        assert table.groupby("suite")["trust"].unique().map(list).to_dict() == {
            suite: [worth] for suite, worth in trust.items()
        }
    outside = completions[completions["suite"] != "heldout"]
    assert set(outside["style"]) == {"completion"}
    assert set(outside["problem_id"]) == {"HumanEval/0", "BigCodeBench/0"}
    assert notes["excluded"] == [
        {
            "checkpoint": "adapted",
            "suite": "bigcodebench_hard",
            "problem_id": "BigCodeBench/1",
            "reason": "not installed: no_such_library",
        }
    ]


def test_without_a_heldout_problem_nothing_starts(tmp_path: Path, parameters: Parameters) -> None:
    params = EvaluationParams(**parameters("test", "evaluation", work=str(tmp_path / "work")))
    rows = pd.DataFrame([problem(0, split="rl")])
    with pytest.raises(BadData, match=r"heldout.*kedro run --pipeline=ingestion"):
        evaluate_checkpoints(rows, params, 0, **of_all(tmp_path))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": [4]}, "contain 1"),
        ({"samples": {"adapted": 0}}, "at least 1"),
        ({"styles": {"grpo": "instruct"}, "suites": "all"}, "styles has no entry for"),
        ({"problem": 3}, "problem"),
    ],
)
def test_parameters_that_measure_nothing_are_refused(
    parameters: Parameters, change: dict[str, Any], message: str
) -> None:
    if change.get("suites") == "all":
        asked = {"checkpoints": ["adapted"], "problems": 1, "samples": 1, "extraction": "fenced"}
        change = change | {"suites": {"mbpp": asked}}
    with pytest.raises(ValueError, match=message):
        EvaluationParams(**parameters("test", "evaluation", **change))
