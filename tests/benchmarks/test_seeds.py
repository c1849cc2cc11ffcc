"""The tables over seeds, worked out by hand; the chain itself is not run here."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "seeds.py"


@pytest.fixture(scope="module")
def seeds(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("seeds")


def shares(instruct: float, grpo: float) -> pd.DataFrame:
    """A seed in which every one of two problems is solved equally often."""
    rows = {
        ("adapted", "sampled"): 0.0,
        ("adapted", "greedy"): 0.0,
        ("instruct", "sampled"): instruct,
        ("instruct", "greedy"): 0.5,
        ("grpo", "sampled"): grpo,
        ("grpo", "greedy"): 0.75,
    }
    return pd.DataFrame({name: pd.Series(rows) for name in ("first", "second")})


def test_the_results_by_hand(seeds: ModuleType) -> None:
    # Of two draws from two seeds a quarter takes the lower one twice, a quarter the higher one:
    # the 95 % interval ends at the seeds' own means.
    assert seeds.markdown([shares(0.25, 1.0), shares(0.75, 1.0)], [3, 5]).splitlines() == [
        "Held-out pass@1 in %, seeds 3, 5: mean and 95 % interval (bootstrap over seeds and "
        "problems), 2 problems per seed.",
        "",
        "| checkpoint | sampled | each seed | greedy | each seed |",
        "|---|---|---|---|---|",
        "| adapted | 0.0 [0.0, 0.0] | 0.0, 0.0 | 0.0 [0.0, 0.0] | 0.0, 0.0 |",
        "| instruct | 50.0 [25.0, 75.0] | 25.0, 75.0 | 50.0 [50.0, 50.0] | 50.0, 50.0 |",
        "| grpo | 100.0 [100.0, 100.0] | 100.0, 100.0 | 75.0 [75.0, 75.0] | 75.0, 75.0 |",
        "| gain of grpo over instruct | 50.0 [25.0, 75.0] | 75.0, 25.0 "
        "| 25.0 [25.0, 25.0] | 25.0, 25.0 |",
    ]


def test_only_held_out_completions_count_and_samples_are_averaged(
    seeds: ModuleType, tmp_path: Path
) -> None:
    columns = ["suite", "checkpoint", "decoding", "problem_id", "passed"]
    rows = [
        ("heldout", "grpo", "sampled", "a", True),
        ("heldout", "grpo", "sampled", "a", False),
        ("heldout", "grpo", "sampled", "b", True),
        ("heldout", "grpo", "greedy", "a", False),
        ("heldout", "grpo", "greedy", "b", True),
        ("mbpp", "grpo", "greedy", "a", True),
    ]
    path = tmp_path / "07_model_output" / "completions.parquet"
    path.parent.mkdir()
    pd.DataFrame(rows, columns=columns).to_parquet(path)
    assert seeds.passes(tmp_path).T.to_dict() == {
        ("grpo", "sampled"): {"a": 0.5, "b": 1.0},
        ("grpo", "greedy"): {"a": 0.0, "b": 1.0},
    }


def test_seconds_are_averaged_and_the_highest_memory_counts(
    seeds: ModuleType, tmp_path: Path
) -> None:
    for seed, (first, peak) in enumerate([(10.0, 2697), (21.0, 2533)]):
        path = tmp_path / str(seed) / "08_reporting" / "summary.json"
        path.parent.mkdir(parents=True)
        seconds = dict.fromkeys(seeds.STAGES, 2.0) | {"ingestion": first}
        path.write_text(json.dumps({"seconds": seconds, "peak_rss_mb": peak}))
    table = seeds.costs([seeds.summary(tmp_path / "0"), seeds.summary(tmp_path / "1")])
    assert table.splitlines()[2:] == [
        "| ingestion | backbone | adaptation | instruction | grpo | evaluation | analysis | all "
        "| memory |",
        "|---|---|---|---|---|---|---|---|---|",
        "| 16 | 2 | 2 | 2 | 2 | 2 | 2 | 28 | 2,697 MB |",
    ]


def test_only_what_stands_between_the_markers_is_replaced(seeds: ModuleType) -> None:
    begin, end = seeds.MARKERS
    text = f"before\n{begin}\nan old\ntable\n{end}\nafter\n"
    # A backslash is no reference to a group.
    changed = seeds.between_markers(text, r"| \1 |")
    assert changed == f"before\n{begin}\n| \\1 |\n{end}\nafter\n"
    assert seeds.between_markers(changed, r"| \1 |") == changed


def test_a_text_without_markers_is_refused(seeds: ModuleType) -> None:
    with pytest.raises(ValueError, match="once, found 0"):
        seeds.between_markers("no markers", "table")
    twice = "\n".join(seeds.MARKERS * 2)
    with pytest.raises(ValueError, match="once, found 2"):
        seeds.between_markers(twice, "table")


def test_the_readme_has_the_markers(seeds: ModuleType) -> None:
    readme = (FILE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "| table |" in seeds.between_markers(readme, "| table |")
