"""From problems to completions: the table of requests, and the processes that answer it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams
from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites.options import Style

WORKER = "diffucoder.evaluation.worker"

REVEALS = {
    "checkpoint": str,
    "problem_id": str,
    "sample": int,
    "decoding": str,
    "position": int,
    "reveal_step": int,
    "probability": float,
    "alternatives": object,
    "alternative_probabilities": object,
}


def evenly_spaced(table: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """`count` rows evenly spaced over the table, in its order; all of them for None.

    Tables lie in the order of families and difficulties, so the first rows would stand for a
    few of them.
    """
    if count is None or count >= len(table):
        return table
    return table.iloc[[index * len(table) // count for index in range(count)]]


def request_table(
    suite: str,
    problems: pd.DataFrame,
    checkpoint: str,
    decoding: str,
    samples: int,
    style: Style = "instruct",
) -> pd.DataFrame:
    """One row for each problem and sample: what a checkpoint is asked.

    Args:
        suite: name of the set of problems.
        problems: with `problem_id` and `prompt`.
        checkpoint: who is asked.
        decoding: label of how to decode.
        samples: completions a problem.
        style: whether the prompt is a user's turn, the beginning of a text, or a text with a hole.
    """
    rows = problems[["problem_id", "prompt"]].merge(
        pd.DataFrame({"sample": range(samples)}), how="cross"
    )
    return rows.assign(suite=suite, checkpoint=checkpoint, decoding=decoding, style=style)


def generate_completions(
    asked: pd.DataFrame,
    checkpoints: Mapping[str, Path],
    decodings: Mapping[str, DecodingParams],
    stage: str,
    engine: RankParams,
    work: str,
    seed: int,
    environment: Mapping[str, str],
    trace: int | None = None,
    infilling_lengths: Sequence[int] = (),
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Answer requests in processes of the engine.

    Args:
        asked: rows of `request_table`.
        checkpoints: directory of each checkpoint that is asked.
        decodings: settings of each label of decoding.
        stage: for logs.
        engine: processes and batches.
        work: folder for the log, the parts and the traces; those of an earlier run are removed.
        seed: of the run.
        environment: for the processes.
        trace: alternatives to record at each reveal; None records no trace.
        infilling_lengths: tokens to try for holes, where any are asked.

    Returns:
        The completions in the order of `asked` with `temperature`, `steps` and the settings as
        JSON in `decoding_params`; and, once for each problem that did not fit, `checkpoint`,
        `suite`, `problem_id` and `reason`.

    Raises:
        TrainingFailed: if a process ends early.
    """
    from diffucoder.engine import launch
    from diffucoder.engine.job import Job

    folder = Path(work).resolve()
    parts = folder / "parts"
    for left in (parts, folder / "traces"):
        shutil.rmtree(left, ignore_errors=True)
    parts.mkdir(parents=True)
    asked.reset_index(drop=True).rename_axis("row").reset_index().to_parquet(
        folder / "requests.parquet"
    )
    job = Job(
        stage=stage,
        parameters={
            "decodings": {name: value.model_dump() for name, value in decodings.items()},
            "engine": engine.model_dump(mode="json"),
            "trace": trace,
            "infilling_lengths": list(infilling_lengths),
        },
        inputs={
            "requests": folder / "requests.parquet",
            **{name: Path(checkpoints[name]).resolve() for name in asked["checkpoint"].unique()},
        },
        work=folder,
        output=parts,
        seed=seed,
    )
    launch.run(job, WORKER, engine, environment)
    found = pd.concat([pd.read_parquet(part) for part in sorted(parts.glob("*.parquet"))])
    return _completions(found, decodings)


def reveals(work: str, checkpoints: Mapping[str, Path]) -> pd.DataFrame:
    """The traces that `generate_completions` left: one row per reveal, alternatives as text.

    Args:
        work: as in `generate_completions`.
        checkpoints: directory of each checkpoint that was asked.

    Returns:
        A table as `tables.Reveals` has it; empty if no trace was asked for.
    """
    from diffucoder.data.tokenizer import open_tokenizer, token_texts
    from diffucoder.decoding import trace

    rows: list[dict[str, Any]] = []
    texts: dict[str, Callable[[int], str]] = {}
    for part in sorted((Path(work) / "traces").glob("*.parquet")):
        for name, found in trace.read(part).items():
            checkpoint, _, *problem, sample, decoding = name.split("/")
            if checkpoint not in texts:
                texts[checkpoint] = token_texts(open_tokenizer(checkpoints[checkpoint]))
            about = {
                "checkpoint": checkpoint,
                "problem_id": "/".join(problem),
                "sample": int(sample),
                "decoding": decoding,
            }
            for index, others in enumerate(found.top_tokens):
                rows.append(
                    about
                    | {
                        "position": found.position[index],
                        "reveal_step": found.reveal_step[index],
                        "probability": found.probability[index],
                        "alternatives": [texts[checkpoint](token) for token in others],
                        "alternative_probabilities": found.top_probabilities[index],
                    }
                )
    return pd.DataFrame(rows, columns=list(REVEALS)).astype(REVEALS)


def _completions(
    found: pd.DataFrame, decodings: Mapping[str, DecodingParams]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    found = found.sort_values("row")
    left_out = found[found["excluded"] != ""].rename(columns={"excluded": "reason"})
    columns = ["checkpoint", "suite", "problem_id", "reason"]
    exclusions = left_out[columns].drop_duplicates().to_dict("records")
    kept = found[found["excluded"] == ""].drop(columns=["row", "excluded"])
    settings = [decodings[label] for label in kept["decoding"]]
    kept = kept.assign(
        temperature=[float(setting.temperature) for setting in settings],
        steps=[setting.steps for setting in settings],
        decoding_params=[json.dumps(setting.model_dump()) for setting in settings],
    )
    return kept.reset_index(drop=True), exclusions


def problems_by_key(suites: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], Problem]:
    """The problem of each (suite, problem_id)."""
    return {
        (suite, record["problem_id"]): Problem.from_record(record)
        for suite, problems in suites.items()
        for record in problems.to_dict("records")
    }
