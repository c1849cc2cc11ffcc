import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.studies.lab import EstimatorNoise, figure, with_intervals

BOOTSTRAP = BootstrapParams(resamples=500, confidence=0.95)


def raw(values: dict[tuple[str, int], list[float]], measure: str = "variance") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "estimator": name,
                "forwards_per_call": 3,
                "forwards": forwards,
                "level": "token",
                "measure": measure,
                "unit": unit,
                "value": value,
            }
            for (name, forwards), found in values.items()
            for unit, value in enumerate(found)
        ]
    )


def test_means_and_shares_of_the_baseline() -> None:
    table = with_intervals(
        raw(
            {
                ("coupled", 3): [1.0, 3.0, 2.0],
                ("decoupled", 3): [2.0, 6.0, 4.0],
                ("coupled", 6): [1.0, 1.0, 1.0],
            }
        ),
        "decoupled",
        BOOTSTRAP,
        seed=0,
    )
    EstimatorNoise.validate(table)
    rows = table.set_index(["estimator", "forwards", "measure"])
    assert rows.loc[("coupled", 3, "variance"), "mean"] == 2
    share = rows.loc[("coupled", 3, "variance_share")]
    # Half the variance on every completion: the pairing leaves no doubt.
    assert (share["mean"], share["low"], share["high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert ("coupled", 6, "variance_share") not in rows.index, "the baseline was not measured there"
    spread = rows.loc[("coupled", 3, "variance")]
    assert 1 <= spread["low"] < 2 < spread["high"] <= 3 and spread["n"] == 3


def test_other_measures_have_no_share() -> None:
    table = with_intervals(raw({("decoupled", 3): [1.0, 2.0]}, "bias"), "decoupled", BOOTSTRAP, 0)
    assert table["measure"].tolist() == ["bias"]


def test_the_figure_holds_every_estimator_in_every_panel() -> None:
    table = with_intervals(
        raw({("coupled", 3): [1.0, 3.0], ("decoupled", 3): [2.0, 6.0], ("coupled", 6): [1.0, 1.0]}),
        "decoupled",
        BOOTSTRAP,
        seed=0,
    )
    drawn = figure(table, ["coupled", "decoupled"])
    first = drawn.data[0]
    assert first.name == "coupled" and list(first.x) == [3, 6] and list(first.y) == [2, 1]
    assert [trace.showlegend for trace in drawn.data] == [True] * 2 + [False] * 4
