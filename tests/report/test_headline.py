"""What `make run` prints at its end."""

from pathlib import Path

import pytest

from diffucoder.report.headline import lines, main


def test_all_parts(tmp_path: Path) -> None:
    summary = {
        "pass_at_1": {"instruct": {"mean": 0.25, "low": 0.2, "high": 0.3, "n": 100}},
        "seconds": {"ingestion": 30.0, "grpo": 95.0},
        "peak_rss_mb": 1234,
    }
    text = "\n".join(lines(summary, tmp_path))
    assert "instruct    25.0%   ( 20.0% to  30.0%, n = 100)" in text
    assert "Time: 2 min 05 s (ingestion 30 s, grpo 1 min 35 s)" in text
    assert "1,234 MB" in text
    assert str(tmp_path / "report.html") in text


def test_parts_that_are_absent_are_left_out(tmp_path: Path) -> None:
    assert lines({}, tmp_path)[0].startswith("Where to look")


def test_missing_summary_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFUCODER_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"there is no summary; `kedro run` writes it"):
        main()
