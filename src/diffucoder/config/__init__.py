"""Frozen, strict parameter models, one file a stage."""
