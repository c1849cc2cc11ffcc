"""Claims follow the numbers, whichever way they go."""

import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.claims import Claim, all_claims, outcome
from diffucoder.evaluation.measures import full_steps, orders


def claims_of(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> dict[str, Claim]:
    order = orders(full_steps(sweep), [1])
    found = all_claims(completions, sweep, order, 0.2, bootstrap, seed=0)
    return {claim.statement: claim for claim in found}


def starting_with(claims: dict[str, Claim], start: str) -> Claim:
    return next(claim for statement, claim in claims.items() if statement.startswith(start))


@pytest.mark.parametrize(
    ("low", "high", "sign", "expected"),
    [
        (0.1, 0.2, 1, "shown"),
        (0.1, 0.2, -1, "contradicted"),
        (-0.2, -0.1, -1, "shown"),
        (-0.2, -0.1, 1, "contradicted"),
        (-0.1, 0.1, 1, "open"),
        (0.0, 0.1, 1, "open"),
    ],
)
def test_outcome_is_the_side_of_the_interval(
    low: float, high: float, sign: int, expected: str
) -> None:
    assert outcome({"low": low, "high": high}, sign) == expected


def test_a_gain_is_shown_with_its_numbers(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    claim = starting_with(claims_of(completions, sweep, bootstrap), "Coupled-GRPO raises")
    assert claim.outcome == "shown"
    assert "instruct: 50.0%; coupled-GRPO: 90.0%; change +40.0 points" in claim.evidence
    assert claim.evidence.endswith("10 problems.")


def test_a_loss_is_told_as_one(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    swapped = completions.assign(
        checkpoint=completions["checkpoint"].replace({"instruct": "grpo", "grpo": "instruct"})
    )
    claim = starting_with(claims_of(swapped, sweep, bootstrap), "Coupled-GRPO raises")
    assert claim.outcome == "contradicted"
    assert "change -40.0 points" in claim.evidence


def test_order_temperature_and_half_steps(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    claims = claims_of(completions, sweep, bootstrap)
    hotter = starting_with(claims, "Instruct: a higher temperature makes")
    assert hotter.outcome == "shown"
    assert "T = 0.2: 100.0%; T = 1: 33.3%" in hotter.evidence
    # Both checkpoints decode alike, so nothing is shown of RL.
    assert starting_with(claims, "After coupled-GRPO decoding is less").outcome == "open"
    half = starting_with(claims, "After coupled-GRPO, decoding in half")
    assert half.outcome == "shown"
    assert "instruct 100.0% and 0.0%; coupled-GRPO 100.0% and 100.0%" in half.evidence


def test_without_completions_claims_stay_open(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    alone = completions[completions["checkpoint"] == "adapted"]
    claims = claims_of(alone, sweep.iloc[:0], bootstrap)
    assert {claim.outcome for claim in claims.values()} == {"open"}
