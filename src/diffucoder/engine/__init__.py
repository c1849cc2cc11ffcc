"""The training engine: DeepSpeed on one CPU rank or many GPUs, exact and resumable."""
