"""Measurements of the server under load: `python -m zoo.benchmarks.serving`. The rows of its table are defined in `rows.py`."""
