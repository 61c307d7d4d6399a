"""The `zoo bench` command."""

from __future__ import annotations

from zoo.cli.context import print_json
from zoo.cli.flags import BenchFlags


def run(flags: BenchFlags) -> int:
    """Run a benchmark suite and return the exit status: 1 if a case failed or missed its bound, otherwise 0."""
    from zoo.benchmarks.harness.bench import bench

    report = bench(flags.suite, out=flags.out, engine=flags.engine, precision=flags.precision, quiet=flags.json)
    if flags.json:
        print_json(report.to_dict())
    return 0 if report.ok else 1
