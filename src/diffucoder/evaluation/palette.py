"""Colours of the series in figures whose series are not checkpoints."""

SERIES_COLOURS = ("#d97b29", "#4285c4", "#5a9a68", "#a06cb5", "#8b909a", "#b8a03c")
