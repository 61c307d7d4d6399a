"""Comparison of the zoo with other libraries on one machine: `python -m zoo.benchmarks.peers`. `rows.py` defines the table."""
