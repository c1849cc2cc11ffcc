"""How often programs pass and in which order they are decoded, each with an interval."""
