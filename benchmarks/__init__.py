"""Suites, the harness, timing and reports: everything that measures the zoo."""
