"""Estimators and objectives compared by training with them."""

from diffucoder.pipelines.ablation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
