"""The paper's claims over several seeds: one table, whatever it says.

    .venv/bin/python benchmarks/claims.py --seeds 0 1 2 3 4 --results

For each seed the whole chain, then the lab and the ablation (each cell trained once with that seed)
on its instruct model, in a data folder of its own below `--root`; the folders of
`benchmarks/seeds.py` serve. `--params` changes parameters of lab and ablation, as Kedro's own
does, such as `ablation.steps=20` where time is short. What is finished is not run again, what was
stopped goes on. With `--table` nothing is run and the table is made of the seeds that are complete.
With `--results` it replaces what stands between the markers of `docs/results.md`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from seeds import ROOT, between_markers, run_chain

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.measures import HALF, completion_orders, full_steps
from diffucoder.studies.claims import Claim, Measurements, all_claims

PAGE = ROOT / "docs" / "results.md"
MARKERS = ("<!-- claims:begin -->", "<!-- claims:end -->")
BOOTSTRAP = BootstrapParams(resamples=10_000, confidence=0.95)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--root", type=Path, default=ROOT / "data" / "seeds")
    parser.add_argument("--env", default="base", help="the Kedro environment to run in")
    parser.add_argument("--params", default="", help="changes to lab and ablation, as of kedro run")
    parser.add_argument("--table", action="store_true", help="only read what is there")
    parser.add_argument("--results", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    folders = {seed: options.root.resolve() / str(seed) for seed in options.seeds}
    for seed, folder in folders.items():
        if not options.table:
            run_chain(seed, folder, options.env)
            run_studies(seed, folder, options.env, options.params)
    complete = {seed: folder for seed, folder in folders.items() if is_complete(folder)}
    if not complete:
        sys.exit(f"no seed of {options.seeds} is complete below {options.root}")
    table = markdown(all_claims([read(f) for f in complete.values()], BOOTSTRAP, 0), list(complete))
    print(table)
    if options.results:
        text = between_markers(PAGE.read_text(encoding="utf-8"), table, MARKERS)
        PAGE.write_text(text, "utf-8")


def run_studies(seed: int, folder: Path, env: str, changes: str) -> None:
    """`lab` and `ablation` on the instruct model of this seed."""
    params = ",".join(filter(None, [f"seed={seed}", f"ablation.seeds=[{seed}]", changes]))
    for study in ("lab", "ablation"):
        command = [sys.executable, "-m", "kedro", "run", "--only-missing-outputs"]
        subprocess.run(
            [
                *command,
                f"--pipeline={study}",
                f"--env={env}",
                f"--params={params}",
            ],
            cwd=ROOT,
            env=os.environ | {"DIFFUCODER_DATA": str(folder)},
            check=True,
        )


PARTS = {
    "completions": "07_model_output/completions.parquet",
    "sweep": "07_model_output/temperature_completions.parquet",
    "noise": "08_reporting/studies/estimator_noise.parquet",
    "pass_rates": "08_reporting/studies/ablation_pass_rates.parquet",
}


def is_complete(folder: Path) -> bool:
    """Whether chain and studies have left what the table needs."""
    return all((folder / part).exists() for part in PARTS.values())


def read(folder: Path) -> Measurements:
    """The tables of one seed."""
    tables = {name: pd.read_parquet(folder / part) for name, part in PARTS.items()}
    sweep = tables["sweep"]
    half = float(sweep.loc[sweep["decoding"] == HALF, "temperature"].iloc[0])
    order = completion_orders(full_steps(sweep), [1])
    return Measurements(
        tables["completions"],
        sweep,
        order,
        half,
        noise=tables["noise"],
        pass_rates=tables["pass_rates"],
    )


def markdown(claims: list[Claim], seeds: list[int]) -> str:
    """The table of claims."""
    lines = [
        f"Seeds {', '.join(map(str, seeds))}: mean effect and 95 % interval (bootstrap over seeds "
        "and problems).",
        "",
        "| claim | measure | effect | verdict |",
        "|---|---|---|---|",
    ]
    for claim in claims:
        lines.append(f"| {claim.claim} | {claim.measure} | {claim.formatted} | {claim.verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
