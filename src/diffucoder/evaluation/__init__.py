"""What came out: benchmarks, measures with intervals, figures and the report."""
