"""Benchmarks: `python -m experiments.bench NAME [--json]`.

Every speed is CPU time and stands beside a reference measured in the same run, so
that its ratio holds on a busy machine.
"""
