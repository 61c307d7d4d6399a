"""Benchmarks of the zoo: suites with their harness and reports, and comparisons with other libraries."""
