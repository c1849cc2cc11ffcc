"""Evaluation's node: ask, decode, run the answers, estimate."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffucoder.config.evaluation import EvaluationParams
from diffucoder.data.problems import Problem
from diffucoder.errors import BadData
from diffucoder.evaluation.requests import (
    evenly_spaced,
    generate_completions,
    problems_by_key,
    request_table,
)
from diffucoder.evaluation.suites.options import Style

if TYPE_CHECKING:
    from diffucoder.sandbox import Sandbox

# Suite -> style -> its problems with prompts of that style.
Suites = dict[str, dict[Style, pd.DataFrame]]

KEYS = ["checkpoint", "suite", "trust", "decoding", "temperature", "steps"]


def evaluate_checkpoints(
    problems: pd.DataFrame,
    adapted: Path,
    instruct: Path,
    grpo: Path,
    evaluation: EvaluationParams,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Measure all checkpoints on held-out problems and on the suites whose files are there.

    Returns:
        The scored completions, pass@k with intervals, and notes: suites that were skipped,
        problems that were left out, the sandbox's tier.

    Raises:
        BadData: if there is no held-out problem.
        SandboxUnavailable: if programs cannot be run safely on this machine.
        TrainingFailed: if decoding fails.
    """
    from diffucoder.evaluation.measures import estimates
    from diffucoder.evaluation.scoring import score
    from diffucoder.sandbox import Sandbox
    from diffucoder.tracking import RunLogger, child_run

    suites, skipped = _suites(problems, evaluation)
    checkpoints = {"adapted": adapted, "instruct": instruct, "grpo": grpo}
    decodings = {"sampled": evaluation.sampled, "greedy": evaluation.greedy}
    with (
        # Opened first: a machine that cannot run programs is told before anything is decoded.
        Sandbox(**evaluation.sandbox.options()) as sandbox,
        child_run("evaluation", evaluation.model_dump(mode="json")) as environment,
        RunLogger(environment) as logger,
    ):
        logger.set_tag("sandbox_tier", sandbox.tier)
        suites, unjudged = _judgeable(suites, evaluation, sandbox)
        completions, excluded = generate_completions(
            _requests(suites, evaluation),
            checkpoints,
            decodings,
            "evaluation",
            evaluation.engine,
            evaluation.work,
            seed,
            environment,
            evaluation.trace,
            evaluation.infilling_lengths,
        )
        # A problem's tests are the same in every style.
        records = problems_by_key(
            {name: next(iter(styles.values())) for name, styles in suites.items()}
        )
        extractions = {name: suite.extraction for name, suite in evaluation.suites.items()}
        completions = score(completions, records, sandbox, extractions)
        pass_at_k = estimates(completions, KEYS, evaluation.ks, evaluation.bootstrap, seed)
        logger.log_metrics(0, _metrics(pass_at_k) | {"sandbox/mechanisms": sandbox.mechanisms})
        notes = {"sandbox_tier": sandbox.tier, "skipped": skipped, "excluded": unjudged + excluded}
    return completions, pass_at_k, notes


def _suites(
    problems: pd.DataFrame, evaluation: EvaluationParams
) -> tuple[Suites, list[dict[str, str]]]:
    """The problems of each suite in each style, and the suites that are skipped, with reasons."""
    from diffucoder.evaluation.suites import load

    heldout = problems[problems["split"] == "heldout"]
    if heldout.empty:
        raise BadData(
            "problems: no problem has the split `heldout`, so there is nothing to measure; set "
            "problems.counts.heldout above 0 and run `kedro run --pipeline=ingestion`"
        )
    suites: Suites = {"heldout": {"instruct": evenly_spaced(heldout, evaluation.problems)}}
    skipped = []
    for name, suite in evaluation.suites.items():
        try:
            suites[name] = {
                style: evenly_spaced(
                    pd.DataFrame(
                        [
                            problem.record()
                            for problem in load(name, Path(evaluation.suites_folder), style)
                        ]
                    ),
                    suite.problems,
                )
                for style in {_style(evaluation, name, asked) for asked in suite.checkpoints}
            }
        except FileNotFoundError as error:
            skipped.append({"suite": name, "reason": str(error)})
    return suites, skipped


def _judgeable(
    suites: Suites, evaluation: EvaluationParams, sandbox: "Sandbox"
) -> tuple[Suites, list[dict[str, str]]]:
    """Suites without the problems that cannot be judged here, and those, for each checkpoint.

    Only tests that run in the candidate's process can ask for more than it is given.
    """
    from diffucoder.evaluation.scoring import unjudgeable
    from diffucoder.evaluation.suites import trust

    kept, left_out = {}, []
    for name, by_style in suites.items():
        reasons: dict[str, str] = {}
        if trust(name) == "contained_only":
            records = next(iter(by_style.values())).to_dict("records")
            reasons = unjudgeable([Problem.from_record(record) for record in records], sandbox)
            left_out += [
                {"checkpoint": checkpoint, "suite": name, "problem_id": problem, "reason": reason}
                for checkpoint in evaluation.suites[name].checkpoints
                for problem, reason in reasons.items()
            ]
        remaining = {
            style: problems[~problems["problem_id"].isin(list(reasons))]
            for style, problems in by_style.items()
        }
        if all(len(problems) for problems in remaining.values()):
            kept[name] = remaining
    return kept, left_out


def _requests(suites: Suites, evaluation: EvaluationParams) -> pd.DataFrame:
    """Who is asked what, how often: several samples and one greedy completion."""
    asked = []
    for suite, by_style in suites.items():
        options = evaluation.suites.get(suite)
        samples = (
            dict.fromkeys(options.checkpoints, options.samples) if options else evaluation.samples
        )
        for checkpoint, count in samples.items():
            style = _style(evaluation, suite, checkpoint)
            problems = by_style[style]
            asked.append(request_table(suite, problems, checkpoint, "sampled", count, style))
            asked.append(request_table(suite, problems, checkpoint, "greedy", 1, style))
    return pd.concat(asked, ignore_index=True)


def _style(evaluation: EvaluationParams, suite: str, checkpoint: str) -> Style:
    """How a checkpoint is asked a suite."""
    from diffucoder.evaluation.suites import find_suite

    if suite not in evaluation.suites:
        return "instruct"
    return find_suite(suite).style or evaluation.styles[checkpoint]


def _metrics(pass_at_k: pd.DataFrame) -> dict[str, float]:
    return {
        f"pass_at_{row.k}/{row.suite}_{row.decoding}_{row.checkpoint}": float(row.mean)
        for row in pass_at_k.itertuples()
    }
