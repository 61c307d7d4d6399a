"""Benchmark harness: suites, cases, command lines, inputs, measurement, and reports."""
