"""Runs in MLflow: the only package that imports it, and only when it is used."""

from diffucoder.tracking.logger import RunLogger
from diffucoder.tracking.runs import child_run, tag_active_run

__all__ = ["RunLogger", "child_run", "tag_active_run"]
