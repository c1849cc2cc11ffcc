"""The whole chain for several seeds: does coupled-GRPO help, and how sure is that?

    .venv/bin/python benchmarks/seeds.py --seeds 0 1 2 --readme

Each seed draws its own problems, trains its own tokenizer and models, and lives in a data folder
of its own below `--root`. A seed that is finished is not run again, one that was stopped goes on.
With `--readme` the table, and one of time and memory below it, replace what stands between the
README's markers.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.evaluation.bootstrap import cluster_interval
from diffucoder.pipeline_registry import STAGES

ROOT = Path(__file__).resolve().parents[1]
MARKERS = ("<!-- results:begin -->", "<!-- results:end -->")
RESAMPLES, CONFIDENCE = 10_000, 0.95
DECODINGS = ("sampled", "greedy")


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=ROOT / "data" / "seeds")
    parser.add_argument("--env", default="base", help="the Kedro environment to run in")
    parser.add_argument("--readme", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    folders = [options.root.resolve() / str(seed) for seed in options.seeds]
    for seed, folder in zip(options.seeds, folders, strict=True):
        run_chain(seed, folder, options.env)
    table = markdown([passes(folder) for folder in folders], options.seeds)
    print(table)
    if options.readme:
        readme = ROOT / "README.md"
        tables = f"{table}\n\n{costs([summary(folder) for folder in folders])}"
        readme.write_text(between_markers(readme.read_text(encoding="utf-8"), tables), "utf-8")


def run_chain(seed: int, folder: Path, env: str) -> None:
    """`kedro run` for one seed; finished stages are skipped if nothing they depend on changed."""
    command = [sys.executable, "-m", "kedro", "run", "--only-missing-outputs"]
    subprocess.run(
        [*command, "--env", env, "--params", f"seed={seed}"],
        cwd=ROOT,
        env=os.environ | {"DIFFUCODER_DATA": str(folder)},
        check=True,
    )


def passes(folder: Path) -> pd.DataFrame:
    """Share of passing samples of each held-out problem: rows are (checkpoint, decoding)."""
    completions = pd.read_parquet(folder / "07_model_output" / "completions.parquet")
    heldout = completions[completions["suite"] == "heldout"]
    shares = heldout.groupby(["checkpoint", "decoding", "problem_id"])["passed"].mean()
    return shares.unstack("problem_id")


def markdown(seeds: list[pd.DataFrame], numbers: list[int]) -> str:
    """The results as a Markdown table, with the gain of grpo over instruct."""
    lines = [
        f"Held-out pass@1 in %, seeds {', '.join(map(str, numbers))}: mean and 95 % interval "
        f"(bootstrap over seeds and problems), {seeds[0].shape[1]} problems per seed.",
        "",
        "| checkpoint | " + " | ".join(f"{decoding} | each seed" for decoding in DECODINGS) + " |",
        "|---" * (1 + 2 * len(DECODINGS)) + "|",
    ]
    for checkpoint in CHECKPOINTS:
        cells = [cell([seed.loc[(checkpoint, d)] for seed in seeds]) for d in DECODINGS]
        lines.append(f"| {checkpoint} | {' | '.join(cells)} |")
    gains = [
        cell([seed.loc[("grpo", d)] - seed.loc[("instruct", d)] for seed in seeds])
        for d in DECODINGS
    ]
    lines.append(f"| gain of grpo over instruct | {' | '.join(gains)} |")
    return "\n".join(lines)


def cell(seeds: list[pd.Series]) -> str:
    """Mean with interval, and the mean of each seed."""
    values = np.stack([seed.to_numpy(dtype=float) for seed in seeds])
    low, high = cluster_interval(values, RESAMPLES, CONFIDENCE, seed=0)
    each = ", ".join(f"{100 * mean:.1f}" for mean in values.mean(1))
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] | {each}"


def summary(folder: Path) -> dict[str, Any]:
    """What the chain says of itself."""
    path = folder / "08_reporting" / "summary.json"
    return json.loads(path.read_text(encoding="utf-8"))


def costs(seeds: list[dict[str, Any]]) -> str:
    """Mean seconds of each stage and memory at its highest, as a Markdown table."""
    seconds = pd.DataFrame([seed["seconds"] for seed in seeds])[list(STAGES)].mean()
    peak = max(seed["peak_rss_mb"] for seed in seeds)
    cells = [f"{value:.0f}" for value in [*seconds, seconds.sum()]]
    return "\n".join(
        [
            "Seconds of each stage, mean of the seeds, and resident memory of all processes at "
            "its highest in any seed.",
            "",
            f"| {' | '.join(STAGES)} | all | memory |",
            "|---" * (len(STAGES) + 2) + "|",
            f"| {' | '.join(cells)} | {peak:,} MB |",
        ]
    )


def between_markers(text: str, table: str, markers: tuple[str, str] = MARKERS) -> str:
    """`text` with what stands between the markers replaced by `table`."""
    begin, end = map(re.escape, markers)
    replacement = f"{markers[0]}\n{table}\n{markers[1]}"
    changed, count = re.subn(f"{begin}.*?{end}", lambda _: replacement, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page must hold the markers {markers} once, found {count}")
    return changed


if __name__ == "__main__":
    main()
