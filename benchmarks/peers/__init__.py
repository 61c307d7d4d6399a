"""The zoo beside other libraries on one machine: `python -m zoo.benchmarks.peers`. One file per library, and `rows.py` for the table."""
