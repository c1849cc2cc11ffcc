"""Backbones: loading and making them, attention patterns, the shift-by-one convention."""

from diffucoder.model.create import create, set_bidirectional
from diffucoder.model.load import load, load_tokenizer

__all__ = ["create", "load", "load_tokenizer", "set_bidirectional"]
