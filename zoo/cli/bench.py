"""The `zoo bench` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.cli.context import print_json
from zoo.cli.group import Command
from zoo.system.wording import counted


@dataclass(frozen=True)
class BenchFlags:
    """Run a benchmark suite, measuring accuracy, speed and memory, and write report.html. Results stored in --out aren't measured again."""

    suite: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[SUITE]")] = None
    """Name of a built-in suite, or a TOML file; quick by default."""
    out: Path = Path("bench")
    """Output folder for the report, and for the results of finished cases."""
    only: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="GLOB")] = ()
    """Run only cases whose name matches a pattern such as "digits*". The flag can be repeated."""
    seeds: int | None = None
    """Number of runs of each case, with different seeds."""
    engine: str | None = None
    """Inference engine for all models: eager, inductor, openvino, onnxruntime or auto; by default the suite's setting."""
    precision: Literal["auto", "fp32", "bf16", "int8"] | None = None
    """Precision of the engine; by default the suite's setting. int8 requires a suite whose cases define calibration data."""
    timeout: str | None = None
    """Time limit of each case, in seconds or as 10m; by default the suite's setting. A case that exceeds it fails."""
    memory_mib: float | None = None
    """Limit of the resident memory of each case in MiB; by default the suite's setting. A case that exceeds it fails."""
    budget: str | None = None
    """Time for all cases, such as 30m. Cases that haven't begun by then are skipped; the same command runs them."""
    fresh: bool = False
    """Run all cases, also those that are stored in --out."""
    list: bool = False
    """List the cases of the suite, or all built-in suites, and run nothing."""
    json: bool = False
    """Print only the report, as a single JSON object, to standard output."""


_BENCH = Command("run a benchmark", "zoo.cli.bench:run", "zoo.cli.bench:BenchFlags")
_COMPARE = Command("compare two reports: zoo bench compare OLD NEW", "zoo.cli.bench_compare:run", "zoo.cli.bench_compare:BenchCompareFlags")


def dispatch(words: list[str]) -> int:
    """Run `zoo bench`, or `zoo bench compare` if that is the first of the arguments, and return the exit status."""
    if words[:1] == ["compare"]:
        return _COMPARE.run("bench compare", words[1:])
    try:
        return _BENCH.run("bench", words)
    except SystemExit:
        if {"-h", "--help"} & set(words):
            print(f"\ncommands:\n  compare   {_COMPARE.summary}", flush=True)
        raise


def run(flags: BenchFlags) -> int:
    """Run a benchmark suite and return the exit status: 1 if a case failed or missed its bound, otherwise 0."""
    if flags.list:
        return _listed(flags)
    from zoo.benchmarks.harness.bench import bench

    report = bench(
        flags.suite or "quick", out=flags.out, only=flags.only, engine=flags.engine, precision=flags.precision, seeds=flags.seeds,
        timeout=flags.timeout, memory_mib=flags.memory_mib, budget=flags.budget, fresh=flags.fresh, quiet=flags.json,
    )  # fmt: skip
    if flags.json:
        print_json(report.to_dict())
    return 0 if report.ok else 1


def _listed(flags: BenchFlags) -> int:
    """Print the cases of a suite or, without one, of all built-in suites."""
    from zoo.benchmarks.harness.suite import in_words
    from zoo.benchmarks.harness.suite_file import list_suites, read_suite

    suites = [read_suite(name) for name in ([flags.suite] if flags.suite else list_suites())]
    suites = suites if flags.seeds is None else [suite.with_seeds(flags.seeds) for suite in suites]
    suites = [suite.matching(flags.only) for suite in suites]
    if flags.json:
        print_json({"suites": [{"name": s.name, "description": s.description, "cases": [case.name for case in s.cases]} for s in suites]})
        return 0
    for suite in suites:
        print(f"{suite.name}: {counted(len(suite.cases), 'case')}. {suite.description}")
        for case in suite.cases:
            print(f"  {case.name}: {in_words(case.task)}, {case.backbone}, {case.engine} on {in_words(case.test)}")
    return 0
