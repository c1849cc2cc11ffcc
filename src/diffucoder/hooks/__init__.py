"""What happens around a run: checks before it, records beside it, a summary after it."""
