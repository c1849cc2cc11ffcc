"""An OpenAI-compatible endpoint over the diffusion sampler."""
