"""The `zoo bench` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.cli.context import print_json


@dataclass(frozen=True)
class BenchFlags:
    """Run a benchmark suite, measuring accuracy, speed and memory, and write report.json."""

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "quick"
    """Name of a built-in suite, or a TOML file."""
    out: Path = Path("bench")
    """Output folder for the report."""
    engine: str | None = None
    """Inference engine for all models: eager, inductor, openvino, onnxruntime or auto; by default the suite's setting."""
    precision: Literal["auto", "fp32", "bf16", "int8"] | None = None
    """Precision of the engine; by default the suite's setting. int8 requires a suite whose cases define calibration data."""
    json: bool = False
    """Print only the report, as a single JSON object, to standard output."""


def run(flags: BenchFlags) -> int:
    """Run a benchmark suite and return the exit status: 1 if a case failed or missed its bound, otherwise 0."""
    from zoo.benchmarks.harness.bench import bench

    report = bench(flags.suite, out=flags.out, engine=flags.engine, precision=flags.precision, quiet=flags.json)
    if flags.json:
        print_json(report.to_dict())
    return 0 if report.ok else 1
