"""Reinforcement learning with coupled-GRPO."""

from diffucoder.pipelines.grpo.pipeline import create_pipeline

__all__ = ["create_pipeline"]
