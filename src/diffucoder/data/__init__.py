"""Documents, problems and instruction pairs: from their sources to tokens."""
