"""`zoo bench`."""

from __future__ import annotations

from zoo.cli.context import print_json


def run(words: list[str]) -> int:
    """Run a benchmark suite and return the exit status: 1 where a case failed or missed its bound."""
    from zoo.benchmarks.harness.bench import bench
    from zoo.cli.flags import BenchFlags, parse

    flags = parse(BenchFlags, "bench", words)
    report = bench(flags.suite, out=flags.out, engine=flags.engine, precision=flags.precision, quiet=flags.json)
    if flags.json:
        print_json(report.to_dict())
    return 0 if report.ok else 1
