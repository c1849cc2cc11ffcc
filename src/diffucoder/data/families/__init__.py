"""Generated families of small Python tasks: problems with unit tests, and instruction pairs."""

from diffucoder.data.families.generate import generate, instruction_pairs

__all__ = ["generate", "instruction_pairs"]
