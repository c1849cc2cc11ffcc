"""Turn an autoregressive code model into a masked diffusion model, and improve it with RL."""

__version__ = "0.1.0"
