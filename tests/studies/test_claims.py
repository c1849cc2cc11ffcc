"""Claims follow the numbers, whichever way they go."""

import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.measures import completion_orders, full_steps
from diffucoder.studies.claims import Claim, Effect, Measurements, all_claims, assess, verdict

SWAP = {"instruct": "grpo", "grpo": "instruct"}


def tables(completions: pd.DataFrame, sweep: pd.DataFrame, **studies: pd.DataFrame) -> Measurements:
    return Measurements(
        completions, sweep, completion_orders(full_steps(sweep), [1]), 0.2, **studies
    )


def find(claims: list[Claim], text: str) -> Claim:
    """The only row whose claim or measure holds the text."""
    (found,) = (claim for claim in claims if text in f"{claim.claim} {claim.measure}")
    return found


@pytest.mark.parametrize(
    ("low", "high", "sign", "expected"),
    [
        (0.1, 0.2, 1, "supported"),
        (0.1, 0.2, -1, "contradicted"),
        (-0.2, -0.1, -1, "supported"),
        (-0.2, -0.1, 1, "contradicted"),
        (-0.1, 0.1, 1, "undecided"),
        (0.0, 0.1, 1, "undecided"),
    ],
)
def test_verdict_is_the_side_of_the_interval(
    low: float, high: float, sign: int, expected: str
) -> None:
    assert verdict(low, high, sign) == expected


def test_a_gain_is_told_with_its_numbers(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    claim = find(all_claims([tables(completions, sweep)], bootstrap, 0), "pass@1, sampled")
    assert claim.verdict == "supported"
    assert claim.evidence == "instruct: 50.0%; coupled-GRPO: 90.0%."
    assert claim.formatted.startswith("+40.0 points [")
    assert (claim.seeds, claim.problems) == (1, 10)


def test_a_loss_is_told_as_one(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    swapped = completions.assign(checkpoint=completions["checkpoint"].replace(SWAP))
    claim = find(all_claims([tables(swapped, sweep)], bootstrap, 0), "pass@1, sampled")
    assert claim.verdict == "contradicted"
    assert claim.effect is not None and claim.effect[0] == pytest.approx(-40)


def test_order_temperature_and_half_steps(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    claims = all_claims([tables(completions, sweep)], bootstrap, 0)
    hotter = find(claims, "AR-ness@1 of instruct")
    assert hotter.verdict == "supported"
    assert hotter.evidence == "T = 0.2: 100.0%; T = 1: 33.3%."
    # Both checkpoints decode alike, so nothing is shown of RL.
    assert find(claims, "less left to right after coupled-GRPO").verdict == "undecided"
    half = find(claims, "lost by half")
    assert half.verdict == "supported"
    assert "instruct 100.0% and 0.0%; coupled-GRPO 100.0% and 100.0%" in half.evidence


def test_what_was_not_measured_is_undecided_and_says_how_to(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    alone = completions[completions["checkpoint"] == "adapted"]
    claims = all_claims([tables(alone, sweep.iloc[:0])], bootstrap, 0)
    assert {claim.verdict for claim in claims} == {"undecided"}
    assert {claim.seeds for claim in claims} == {0}
    assert "--pipeline=lab" in find(claims, "of a token").evidence
    assert "--pipeline=ablation" in find(claims, "equal compute, full-mask").evidence


def noise(share: float) -> pd.DataFrame:
    """Coupled masks against independent ones, at two budgets; the larger one does not count."""
    about = {"estimator": "coupled", "measure": "variance_share", "n": 32}
    ends = {"mean": share, "low": share - 0.1, "high": share + 0.1}
    return pd.DataFrame(
        about | {"level": level, "forwards": passes} | (ends if passes == 3 else worse)
        for level in ("token", "sequence")
        for passes, worse in ((6, {"mean": 9.0, "low": 8.0, "high": 10.0}), (3, {}))
    )


def test_variance_is_judged_by_the_lab(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    runs = [tables(completions, sweep, noise=noise(share)) for share in (0.8, 1.3)]
    alone = find(all_claims(runs[:1], bootstrap, 0), "of a token")
    assert alone.verdict == "supported" and alone.formatted == "-20.0 % [-30.0, -10.0]"
    assert alone.evidence == "3 forward passes per completion, 32 completions."
    both = find(all_claims(runs, bootstrap, 0), "of a token")
    assert both.verdict == "undecided" and both.seeds == 2
    assert both.effect == pytest.approx((5.0, -20.0, 30.0))


def test_estimators_are_judged_by_the_ablation(
    completions: pd.DataFrame, sweep: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    shares = {"start": 0.5, "coupled": 0.75, "full_mask": 0.25, "decoupled": 1.0}
    passes = pd.DataFrame(
        {
            "cell": cell,
            "seed": seed,
            "budget": budget,
            "problem_id": f"p{n}",
            "passed": share - loss,
        }
        for cell, share in shares.items()
        for budget, loss in (("equal steps", 0.0), ("equal compute", 0.6 * (cell == "coupled")))
        for seed in (0, 1)
        for n in range(4)
    )
    claims = all_claims([tables(completions, sweep, pass_rates=passes)], bootstrap, 0)
    full = find(claims, "equal steps, full-mask")
    assert (full.verdict, full.seeds, full.problems) == ("supported", 2, 4)
    assert full.evidence == "full-mask: 25.0%; coupled: 75.0%; both started from 50.0%."
    assert full.effect == pytest.approx((50.0, 50.0, 50.0))
    assert find(claims, "equal steps, decoupled").verdict == "contradicted"
    assert find(claims, "equal compute, full-mask").verdict == "contradicted"


def test_seeds_are_judged_together(bootstrap: BootstrapParams) -> None:
    one, other = (
        Effect("claim", "measure", 1, "points", ((gain,) * 3,), evidence="one run")
        for gain in (0.3, -0.1)
    )
    assert assess([one], bootstrap, 0).verdict == "supported"
    both = assess([one, other], bootstrap, 0)
    assert both.verdict == "undecided" and both.evidence == ""
    assert both.effect == pytest.approx((10.0, -10.0, 30.0))
