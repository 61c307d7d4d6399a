"""The benchmark harness: suites, cases, timing, measurement of the machine, and reports."""
