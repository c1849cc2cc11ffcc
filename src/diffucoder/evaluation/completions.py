"""From requests to completions: the processes that decode, and what they leave."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from diffucoder.config.base import Params
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams

WORKER = "diffucoder.evaluation.worker"
PARTS, TRACES = "parts", "traces"

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


class GenerationParams(Params):
    """How requests are decoded: the parameters of the worker's job.

    Attributes:
        decodings: Options of each label that a request's `decoding` may name.
        engine: Processes, and completions per forward pass.
        trace: Number of alternatives recorded at each reveal; None records no trace.
        infilling_lengths: Numbers of tokens tried for a hole, where requests have holes.
    """

    decodings: dict[str, DecodingParams]
    engine: RankParams
    trace: int | None = None
    infilling_lengths: list[int] = Field(default_factory=list)


def generate_completions(
    requests: pd.DataFrame,
    checkpoints: Mapping[str, Path],
    params: GenerationParams,
    stage: str,
    work: str | Path,
    seed: int,
    environment: Mapping[str, str],
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Answer requests in processes of their own.

    Args:
        requests: Rows of `diffucoder.evaluation.requests.request_table`.
        checkpoints: Directory of each checkpoint that is asked.
        params: How they are decoded.
        stage: Name of the stage, for logs.
        work: Folder for the log, the parts and the traces; those of an earlier run are removed.
        seed: Random seed of the run.
        environment: Environment variables of the processes.

    Returns:
        The completions in the order of `requests`, with `temperature`, `steps` and the options as
        JSON in `decoding_params`; and, once for each problem that did not fit, `checkpoint`,
        `suite`, `problem_id` and `reason`.

    Raises:
        TrainingFailed: If a process ends early.
    """
    from diffucoder.engine import launch
    from diffucoder.engine.stage import new_job

    folder = Path(work).resolve()
    for left in (folder / PARTS, folder / TRACES):
        shutil.rmtree(left, ignore_errors=True)
    (folder / PARTS).mkdir(parents=True)
    table = folder / "requests.parquet"
    requests.reset_index(drop=True).rename_axis("row").reset_index().to_parquet(table)
    asked = {name: checkpoints[name] for name in requests["checkpoint"].unique()}
    job = new_job(stage, params, {"requests": table, **asked}, folder, seed, output=PARTS)
    launch.run(job, WORKER, params.engine, environment)
    parts = [pd.read_parquet(part) for part in sorted(job.output.glob("*.parquet"))]
    return _completions(pd.concat(parts), params.decodings)


def read_reveals(work: str | Path, checkpoints: Mapping[str, Path]) -> pd.DataFrame:
    """Read the traces that `generate_completions` left.

    Args:
        work: The folder that `generate_completions` worked in.
        checkpoints: Directory of each checkpoint that was asked.

    Returns:
        A table of `diffucoder.evaluation.schemas.Reveals`: one row per reveal, alternatives as
        text; empty if no trace was asked for.
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
