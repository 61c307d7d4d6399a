"""Benchmarks of the zoo: suites with their harness and reports, and comparisons with other libraries."""

from zoo.system.threads import wait_briefly

wait_briefly()
