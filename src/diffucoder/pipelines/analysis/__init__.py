"""Analysis: the order of decoding, temperature, figures, and the report."""
