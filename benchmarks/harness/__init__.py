"""Benchmark harness: suites, cases, timing, description of the machine, and reports."""
