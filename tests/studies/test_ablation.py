import pandas as pd
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.studies.ablation import Summary, figure, summary

BOOTSTRAP = BootstrapParams(resamples=500, confidence=0.95)


def curves() -> pd.DataFrame:
    """Two cells, two seeds, ten steps; `dear` costs twice as much and learns twice as fast.

    At equal compute it is trained for five steps.
    """
    return pd.DataFrame(
        [
            {
                "cell": cell,
                "seed": seed,
                "budget": budget,
                "step": step,
                "name": "reward/total",
                "value": pace * step + 0.1 * seed,
                "forwards": price * step,
            }
            for cell, price, pace in (("cheap", 10, 1.0), ("dear", 20, 2.0))
            for seed in (0, 1)
            for budget in ("equal steps", "equal compute")
            for step in range(1, 6 if (cell, budget) == ("dear", "equal compute") else 11)
        ]
    )


def passes() -> pd.DataFrame:
    shares = {
        "start": [[0.2, 0.4], [0.2, 0.4]],
        "cheap": [[0.4, 0.6], [0.6, 0.8]],
        "dear": [[0.2, 0.4], [0.2, 0.4]],
    }
    return pd.DataFrame(
        [
            {
                "cell": cell,
                "seed": seed,
                "budget": budget,
                "problem_id": f"p{number}",
                "passed": share,
            }
            for cell, rows in shares.items()
            for budget in ("equal steps", "equal compute")
            for seed, row in enumerate(rows)
            for number, share in enumerate(row)
        ]
    )


def test_cells_are_compared_with_their_start_problem_by_problem() -> None:
    table = Summary.validate(summary(curves(), passes(), 2, BOOTSTRAP, seed=0))
    rows = table.set_index(["cell", "measure", "budget"])
    assert rows.loc[("start", "pass@1", "equal steps"), "mean"] == pytest.approx(0.3)
    assert rows.loc[("cheap", "pass@1", "equal steps"), "mean"] == pytest.approx(0.6)
    gain = rows.loc[("cheap", "pass@1 gain", "equal steps")]
    # 0.2 with one seed and 0.4 with the other, on every problem.
    assert (gain["mean"], gain["low"], gain["high"]) == pytest.approx((0.3, 0.2, 0.4))
    none = rows.loc[("dear", "pass@1 gain", "equal steps")]
    assert (none["low"], none["high"]) == pytest.approx((0, 0)) and none["seeds"] == 2
    assert ("start", "pass@1 gain", "equal steps") not in rows.index


def test_rewards_are_read_off_at_equal_steps_and_at_equal_compute() -> None:
    table = summary(curves(), passes(), 2, BOOTSTRAP, seed=0)
    rewards = table[table["measure"] == "reward"].set_index(["cell", "budget"])["mean"]
    assert rewards[("cheap", "equal steps")] == pytest.approx(9.5 + 0.05)
    assert rewards[("dear", "equal steps")] == pytest.approx(19 + 0.05)
    # 100 passes are ten steps of the one and five of the other.
    assert rewards[("cheap", "equal compute")] == pytest.approx(9.5 + 0.05)
    assert rewards[("dear", "equal compute")] == pytest.approx(9 + 0.05)


def test_the_figure_has_a_curve_and_a_band_a_cell() -> None:
    drawn = figure(curves(), 1, BOOTSTRAP, seed=0)
    lines = {trace.name: trace for trace in drawn.data if trace.mode == "lines" and trace.name}
    assert set(lines) == {"cheap", "dear"}
    assert list(lines["dear"].x)[-1] == 200
    assert lines["dear"].y[-1] == pytest.approx(20.05)
