"""Figures, the HTML report, the viewer of traces, and the summary of a run."""
