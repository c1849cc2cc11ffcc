"""Adaptation: an autoregressive backbone becomes a masked diffusion model."""
