"""Sampling from masked diffusion language models."""

from diffucoder.decoding.request import Completion, Request, Step
from diffucoder.decoding.sampler import Generation, decode, generate, stream
from diffucoder.decoding.session import Session

__all__ = ["Completion", "Generation", "Request", "Session", "Step", "decode", "generate", "stream"]
