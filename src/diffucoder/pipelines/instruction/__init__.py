"""Instruction tuning: the diffusion model learns to answer."""
