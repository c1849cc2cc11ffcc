"""Masked diffusion: the noise schedule, corruption and objectives."""
