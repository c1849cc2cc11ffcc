"""Sampling from masked diffusion language models."""

from diffucoder.decoding.sampler import Generation, generate

__all__ = ["Generation", "generate"]
