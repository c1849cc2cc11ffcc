"""Sampling from masked diffusion language models."""

from diffucoder.decoding.api import Generation, decode, generate, stream
from diffucoder.decoding.request import Completion, Request, Step
from diffucoder.decoding.sampler import Session

__all__ = ["Completion", "Generation", "Request", "Session", "Step", "decode", "generate", "stream"]
