"""The evaluation stage: how often each checkpoint's programs pass their tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffucoder.config.evaluation import EvaluationParams
from diffucoder.evaluation.completions import GenerationParams, generate_completions
from diffucoder.evaluation.measures import estimate_pass_at_k
from diffucoder.evaluation.problem_sets import drop_untestable, load_problem_sets, requests_for
from diffucoder.evaluation.requests import problems_by_key
from diffucoder.evaluation.scoring import score
from diffucoder.sandbox import Sandbox
from diffucoder.tracking import RunLogger, child_run


def evaluate_checkpoints(
    problems: pd.DataFrame,
    checkpoints: Mapping[str, Path],
    evaluation: EvaluationParams,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Measure checkpoints on held-out problems and on the suites whose files are there.

    Args:
        problems: The problem table.
        checkpoints: Directory of each checkpoint, by name.
        evaluation: The stage's parameters.
        seed: Random seed of the run.

    Returns:
        The scored completions (`Completions` of `diffucoder.evaluation.schemas`), pass@k with
        intervals (`PassAtK`), and notes: suites that were `skipped`, problems that were
        `excluded`, and the `sandbox_tier`.

    Raises:
        BadData: If there is no held-out problem.
        SandboxUnavailable: If programs cannot be run safely on this machine.
        TrainingFailed: If decoding fails.
    """
    sets, skipped = load_problem_sets(problems, evaluation)
    with (
        # Opened first: a machine that cannot run programs fails before anything is decoded.
        Sandbox(**evaluation.sandbox.options()) as sandbox,
        child_run("evaluation", evaluation.model_dump(mode="json")) as environment,
        RunLogger(environment) as logger,
    ):
        logger.set_tag("sandbox_tier", sandbox.tier)
        sets, untestable = drop_untestable(sets, evaluation, sandbox)
        completions, excluded = generate_completions(
            requests_for(sets, evaluation),
            checkpoints,
            GenerationParams(
                decodings={"sampled": evaluation.sampled, "greedy": evaluation.greedy},
                engine=evaluation.engine,
                trace=evaluation.trace,
                infilling_lengths=evaluation.infilling_lengths,
            ),
            "evaluation",
            evaluation.work,
            seed,
            environment,
        )
        # A problem's tests are the same in every style.
        tested = {name: next(iter(by_style.values())) for name, by_style in sets.items()}
        extractions = {name: suite.extraction for name, suite in evaluation.suites.items()}
        completions = score(completions, problems_by_key(tested), sandbox, extractions)
        pass_at_k = estimate_pass_at_k(completions, evaluation.ks, evaluation.bootstrap, seed)
        logger.log_metrics(0, _metrics(pass_at_k) | {"sandbox/mechanisms": sandbox.mechanisms})
        tier = sandbox.tier
    notes = {"sandbox_tier": tier, "skipped": skipped, "excluded": untestable + excluded}
    return completions, pass_at_k, notes


def _metrics(pass_at_k: pd.DataFrame) -> dict[str, float]:
    return {
        f"pass_at_{row.k}/{row.suite}_{row.decoding}_{row.checkpoint}": float(row.mean)
        for row in pass_at_k.itertuples()
    }
