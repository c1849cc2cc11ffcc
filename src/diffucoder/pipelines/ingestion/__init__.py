"""Code, problems and instruction pairs become token rows."""
