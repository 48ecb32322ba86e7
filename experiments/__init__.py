"""Studies: benchmarks, sweep definitions and reports."""
