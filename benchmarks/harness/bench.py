"""Run a benchmark suite. Each case runs in a separate process: its memory is measured alone, and a failure doesn't stop the suite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from zoo.benchmarks.harness.case import check_case
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.benchmarks.harness.report import CaseReport, Measurement, Report
from zoo.benchmarks.harness.suite import Case, in_words, read_suite
from zoo.errors import InputError

# -P: a folder called zoo in the current directory must not shadow the installed package
_CHILD = (sys.executable, "-P", "-m", "zoo.benchmarks.harness.case")
_LOG_LINES = 5  # number of lines copied from the end of a crashed process's log into the report


def bench(
    suite: str | Path = "quick",
    *,
    out: str | Path = "bench",
    cases: Sequence[str] | None = None,
    engine: str | None = None,
    precision: str | None = None,
    quiet: bool = False,
) -> Report:
    """Run a benchmark suite and write `report.json` and `report.csv`.

    Args:
        suite: name of a packaged suite, or path of a TOML file.
        out: output folder; an existing report in it is overwritten.
        cases: names of the cases to run; None runs all of them.
        engine: engine for all cases, as in `zoo.compile`; None uses the suite's setting.
        precision: precision for all cases; None uses the suite's setting.
        quiet: whether to suppress the progress messages (standard error) and the table (standard output).

    Returns:
        The report. Its `ok` is True if no case failed and every score reached its expected minimum.

    Raises:
        InputError: the suite, a case or `out` is invalid. This is checked before any case runs.
    """
    chosen, folder = read_suite(suite).pick(cases), Path(out)
    others: dict[str, Any] = {name: value for name, value in (("engine", engine), ("precision", precision)) if value is not None}
    chosen = replace(chosen, cases=tuple(replace(case, **others) for case in chosen.cases))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {folder} is a file; expected a folder for the report")
    for case in chosen.cases:
        try:
            check_case(case)
        except InputError as error:
            raise InputError(f"suite {suite}: case {case.name}: {error}") from error
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)
    started, clock = datetime.now(UTC), time.perf_counter()
    reports = []
    for number, case in enumerate(chosen.cases, start=1):
        label = f"{number}/{len(chosen.cases)} {case.name}"
        console.print(f"{label}: {in_words(case.task)}, {case.backbone} on {in_words(case.train or case.test)} …", markup=False)
        reports.append(run_in_child(case))
        done = reports[-1]
        reason = f": {done.error}" if done.error else "".join(f"; {shortfall}" for shortfall in done.shortfalls)
        console.print(f"{label}: {done.status} in {done.seconds:.0f} s{reason}", markup=False)
    seconds = time.perf_counter() - clock
    report = Report(chosen.name, started.isoformat(timespec="seconds"), seconds, describe_machine(), tuple(reports))
    report.write(folder)
    Console(quiet=quiet, emoji=False).print(report.table())
    console.print(f"report: {folder / 'report.json'}, {folder / 'report.csv'}", markup=False)
    return report


def run_in_child(case: Case, command: Sequence[str] = _CHILD) -> CaseReport:
    """Run one case with `command` and the paths of the job and result files (see `case.main`). Failures and crashes are reported."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        job, result, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        job.write_text(json.dumps({"case": asdict(case), "folder": scratch}), encoding="utf-8")
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        with log.open("wb") as output:
            # subprocess.run kills the child when Ctrl-C interrupts the wait
            process = subprocess.run(
                [*command, str(job), str(result)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
            )
        outcome = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        measurement = Measurement.from_dict(outcome["measurement"]) if "measurement" in outcome else None
        error = None if measurement is not None else outcome.get("error") or _last_words(process.returncode, log)
    engine, seconds = f"{case.engine}, {case.precision}", time.perf_counter() - start
    return CaseReport(case.name, in_words(case.task), case.backbone, in_words(case.test), engine, seconds, case.expect, measurement, error)


def _last_words(status: int, log: Path) -> str:
    """Return an error message for a process that wrote no result: the last lines of its log, and its exit status or signal."""
    end = f"exit status {status}"
    if status < 0:
        end = f"signal {signal.Signals(-status).name}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return "\n".join([*lines, f"the case's process ended with {end} and without a result"])
