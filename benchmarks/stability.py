"""Does a long run of coupled-GRPO stay sound, and does it earn its reward?

    .venv/bin/kedro run --pipeline=grpo --params=grpo.training.steps=500
    .venv/bin/python benchmarks/stability.py --data data

Reads the rollouts and metrics that the grpo stage left, and prints a row for every so many steps. A
policy that hacks its reward is paid for the format of programs that pass no test: that share is
compared between the first and the last rows. A policy that collapses loses its pass rate.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

METRICS = {"kl": "median", "clip_ratio": "mean", "frac_reward_zero_std": "mean"}


def main() -> None:
    """Print the table; the exit code says whether the run stayed sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of a run")
    parser.add_argument("--steps", type=int, default=100, help="that a row is the mean of")
    options = parser.parse_args()
    rollouts = pd.read_parquet(options.data / "07_model_output" / "rollouts.parquet")
    metrics = pd.read_parquet(options.data / "08_reporting" / "metrics" / "grpo.parquet")
    rows = table(rollouts, metrics, options.steps)
    print(markdown(rows))
    first, last = rows.iloc[0], rows.iloc[-1]
    sys.exit(not (last["passed"] >= first["passed"] and last["unearned"] <= first["unearned"]))


def table(rollouts: pd.DataFrame, metrics: pd.DataFrame, steps: int) -> pd.DataFrame:
    """A row for every `steps` steps, named by the last of them.

    Args:
        rollouts: `Rollouts` of the grpo stage.
        metrics: `TrainingMetrics` of it.
        steps: that a row is made of.
    """
    marked = rollouts.assign(
        row=_row(rollouts["step"], steps),
        ok=rollouts["status"] == "passed",
        unearned=(rollouts["reward_format"] == 1) & (rollouts["pass_rate"] == 0),
    )
    groups = marked.groupby("row")
    found = pd.DataFrame(
        {
            "passed": groups["ok"].mean(),
            "format": groups["reward_format"].mean(),
            "unearned": groups["unearned"].mean(),
            "distinct": marked.groupby(["row", "step", "problem_id"])["completion"]
            .nunique()
            .groupby("row")
            .mean(),
        }
    )
    taken = metrics[metrics["step"] > 0]
    taken = taken.assign(row=_row(taken["step"], steps))
    for name, how in METRICS.items():
        found[name] = taken[taken["name"] == name].groupby("row")["value"].agg(how)
    validation = taken[taken["name"] == "validation/pass_rate"].sort_values("step")
    found["validation"] = validation.groupby("row")["value"].last()
    return found


def _row(step: "pd.Series[int]", steps: int) -> "pd.Series[int]":
    return ((step - 1) // steps + 1) * steps


def markdown(rows: pd.DataFrame) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| up to step | passed | format reward | all of it, no test passed | distinct in a group "
        "| KL, median | clipped | groups of one reward | validation |",
        "|---" * 9 + "|",
    ]
    for step, row in rows.iterrows():
        cells = [
            f"{step:,}",
            f"{row['passed']:.1%}",
            f"{row['format']:.3f}",
            f"{row['unearned']:.1%}",
            f"{row['distinct']:.2f}",
            f"{row['kl']:.3f}",
            f"{row['clip_ratio']:.2%}",
            *(f"{row[name]:.1%}" for name in ("frac_reward_zero_std", "validation")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
