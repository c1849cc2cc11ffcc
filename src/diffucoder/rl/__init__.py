"""Reinforcement learning of masked diffusion models: coupled-GRPO."""
