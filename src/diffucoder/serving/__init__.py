"""Checkpoints for people and programs: a terminal, and an OpenAI-compatible server."""

from diffucoder.serving.speaker import Speaker, open_speaker, pace

__all__ = ["Speaker", "open_speaker", "pace"]
