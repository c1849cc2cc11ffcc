"""Measurements of the estimators on a checkpoint."""

from diffucoder.pipelines.lab.pipeline import create_pipeline

__all__ = ["create_pipeline"]
