"""Print the last run's headline numbers and where to look at the rest: the end of `make run`."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffucoder.progress import duration

REPORTING = Path("08_reporting")


def lines(summary: Mapping[str, Any], reporting: Path) -> list[str]:
    """The text to print.

    Args:
        summary: The contents of `summary.json`; parts that are absent are left out.
        reporting: The folder of the report.

    Returns:
        The lines, without line ends.
    """
    text = ["Pass@1 on held-out problems:"] if summary.get("pass_at_1") else []
    for checkpoint, rate in summary.get("pass_at_1", {}).items():
        interval = f"{rate['low']:6.1%} to {rate['high']:6.1%}"
        text.append(f"  {checkpoint:<10} {rate['mean']:6.1%}   ({interval}, n = {rate['n']})")
    seconds = summary.get("seconds", {})
    if seconds:
        stages = ", ".join(f"{stage} {duration(value)}" for stage, value in seconds.items())
        text.append(f"Time: {duration(sum(seconds.values()))} ({stages})")
    if "peak_rss_mb" in summary:
        text.append(f"Memory at its highest: {summary['peak_rss_mb']:,} MB")
    return [
        *text,
        "Where to look (commands after `source .venv/bin/activate`):",
        f"  report      {(reporting / 'report.html').resolve()}",
        "  runs        kedro mlflow ui",
        "  pipelines   kedro viz run",
    ]


def main() -> None:
    """Read the summary under `DIFFUCODER_DATA` (default: `data`) and print it."""
    reporting = Path(os.environ.get("DIFFUCODER_DATA", "data")) / REPORTING
    path = reporting / "summary.json"
    if not path.exists():
        sys.exit(f"{path}: there is no summary; `kedro run` writes it")
    print("\n".join(lines(json.loads(path.read_text(encoding="utf-8")), reporting)))


if __name__ == "__main__":
    main()
