"""Checkpoints for people and programs: a terminal, and an OpenAI-compatible server."""

from diffucoder.serving.chat_model import ChatModel, decoding_params, load_chat_model

__all__ = ["ChatModel", "decoding_params", "load_chat_model"]
