"""From completions to tables of estimates with intervals.

All intervals resample problems: completions of one problem are not independent of each other.
"""

from collections.abc import Sequence

import pandas as pd

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.autoregressiveness import global_ar, local_ar, order_from_steps
from diffucoder.evaluation.bootstrap import interval
from diffucoder.evaluation.pass_at_k import pass_at_k

PROBLEM = ["suite", "problem_id"]
# What tells one estimate of pass@k from another.
KEYS = ["checkpoint", "suite", "trust", "decoding", "temperature", "steps"]

# Label of the decoding in half the steps; every other decoding of a sweep takes all of them.
HALF = "half"


def full_steps(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a sweep that revealed one token per step."""
    return table[table["decoding"] != HALF]


def estimate_pass_at_k(
    completions: pd.DataFrame,
    ks: Sequence[int],
    bootstrap: BootstrapParams,
    seed: int,
    keys: Sequence[str] = KEYS,
) -> pd.DataFrame:
    """pass@k of each group of completions.

    Args:
        completions: Table with `keys`, `problem_id` and `passed`.
        ks: The k of pass@k; one above the fewest samples of a problem is left out.
        bootstrap: How the intervals are computed.
        seed: Random seed of the resampling.
        keys: Columns that tell one group from another.

    Returns:
        `keys`, k, mean, low, high, n_problems, n_samples (the fewest of a problem).
    """
    rows = []
    for group, members in completions.groupby(list(keys), sort=False):
        counts = members.groupby("problem_id", sort=False)["passed"].agg(["size", "sum"])
        fewest = int(counts["size"].min())
        for k in (k for k in ks if k <= fewest):
            values = [pass_at_k(int(n), int(c), k) for n, c in counts.itertuples(index=False)]
            rows.append(
                {
                    **dict(zip(keys, group, strict=True)),
                    "k": k,
                    **_mean_and_interval(values, bootstrap, seed),
                    "n_problems": len(counts),
                    "n_samples": fewest,
                }
            )
    columns = [*keys, "k", "mean", "low", "high", "n_problems", "n_samples"]
    return pd.DataFrame(rows, columns=columns)


def autoregressiveness(reveal_step: Sequence[int], k: int) -> dict[str, float]:
    """Both kinds of AR-ness@k of a completion.

    Args:
        reveal_step: The step at which each position was revealed.
        k: The k of AR-ness@k.

    Returns:
        AR-ness by kind: `local` and `global`, each 0 to 1.

    Raises:
        ValueError: If two positions share a step.
    """
    order = order_from_steps(reveal_step)
    return {"local": local_ar(order, k), "global": global_ar(order, k)}


def completion_orders(completions: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    """AR-ness of each completion, in a row for each kind (`local`, `global`) and k.

    Only the positions of the completion count, not the filler after its end token. Completions
    shorter than two tokens have no order and are left out.

    Args:
        completions: Completions that revealed one token per step.
        ks: The k of AR-ness@k; one that is not below the completion's length is left out.

    Returns:
        checkpoint, suite, problem_id, temperature, kind, k, value (0 to 1).
    """
    rows = []
    for row in completions[completions["length"] >= 2].itertuples():
        for k in (k for k in ks if k < row.length):
            for kind, value in autoregressiveness(list(row.reveal_step), k).items():
                rows.append(
                    {
                        "checkpoint": row.checkpoint,
                        "suite": row.suite,
                        "problem_id": row.problem_id,
                        "temperature": row.temperature,
                        "kind": kind,
                        "k": k,
                        "value": value,
                    }
                )
    columns = ["checkpoint", "suite", "problem_id", "temperature", "kind", "k", "value"]
    return pd.DataFrame(rows, columns=columns)


def summarise_orders(values: pd.DataFrame, bootstrap: BootstrapParams, seed: int) -> pd.DataFrame:
    """Mean and interval of each checkpoint, temperature, kind and k.

    Args:
        values: What `completion_orders` returned.
        bootstrap: How the intervals are computed.
        seed: Random seed of the resampling.

    Returns:
        checkpoint, temperature, kind, k, mean, low, high, n_problems, n_completions.
    """
    keys = ["checkpoint", "temperature", "kind", "k"]
    rows = []
    for group, members in values.groupby(keys, sort=False):
        by_problem = members.groupby(PROBLEM, sort=False)["value"].mean()
        rows.append(
            {
                **dict(zip(keys, group, strict=True)),
                **_mean_and_interval(list(by_problem), bootstrap, seed),
                "n_problems": len(by_problem),
                "n_completions": len(members),
            }
        )
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "n_problems", "n_completions"])


def _mean_and_interval(
    values: Sequence[float], bootstrap: BootstrapParams, seed: int
) -> dict[str, float]:
    low, high = interval(values, bootstrap.resamples, bootstrap.confidence, seed)
    return {"mean": sum(values) / len(values), "low": low, "high": high}
