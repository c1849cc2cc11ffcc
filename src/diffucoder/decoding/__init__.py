"""Sampling from masked diffusion language models.

Names are imported when they are first asked for: parameters import this package's `options`, and
the command line, which reads parameters, has to stay light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffucoder.decoding.api import Generation, decode, generate, stream
    from diffucoder.decoding.request import Completion, Request, Step
    from diffucoder.decoding.sampler import Sampler

__all__ = ["Completion", "Generation", "Request", "Sampler", "Step", "decode", "generate", "stream"]

_MODULES = {
    "Completion": "request",
    "Generation": "api",
    "Request": "request",
    "Sampler": "sampler",
    "Step": "request",
    "decode": "api",
    "generate": "api",
    "stream": "api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
