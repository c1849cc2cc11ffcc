"""Evaluation: how often each checkpoint's functions pass their tests."""
