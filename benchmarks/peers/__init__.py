"""Comparison of the zoo with other libraries on one machine: `python -m zoo.benchmarks.peers`. The rows are defined in `rows.py`."""
