"""Runs a suite: every case in a process of its own, so that its memory is its own and its failure stops nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from zoo.benchmarks.harness.case import check_case
from zoo.benchmarks.harness.machine import describe_machine
from zoo.benchmarks.harness.measurement import Measurement
from zoo.benchmarks.harness.report import CaseReport, Report
from zoo.benchmarks.harness.suite import Case, read_suite
from zoo.errors import InputError

# -P: a folder called zoo where the command is typed is not the zoo
_CHILD = (sys.executable, "-P", "-m", "zoo.benchmarks.harness.case")
_LOG_LINES = 5  # of a dead process's last words that go into the report


def bench(
    suite: str | Path = "quick",
    *,
    out: str | Path = "bench",
    cases: Sequence[str] | None = None,
    engine: str | None = None,
    precision: str | None = None,
    quiet: bool = False,
) -> Report:
    """Run a suite and write `report.json` and `report.csv`.

    Args:
        suite: the name of a packaged suite, or a TOML file.
        out: folder of the report; a report that is there is replaced.
        cases: names of the cases to run; None for all.
        engine: what computes every case's model, as in `zoo.compile`; None for what the suite says.
        precision: of the engine, likewise.
        quiet: print neither progress (standard error) nor the table (standard output).

    Returns:
        The report; it is `ok` where no case failed or scored less than the suite expects.

    Raises:
        InputError: the suite, a case's definition or `out` is wrong; found before anything runs.
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
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    started, clock = datetime.now(UTC), time.perf_counter()
    reports = []
    for number, case in enumerate(chosen.cases, start=1):
        label = f"{number}/{len(chosen.cases)} {case.name}"
        console.print(f"{label}: {case.task}, {case.backbone} on {case.train or case.test} …", markup=False)
        reports.append(run_in_child(case))
        console.print(f"{label}: {_outcome(reports[-1])}", markup=False)
    report = Report(
        suite=chosen.name,
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - clock,
        machine=asdict(describe_machine()),
        cases=tuple(reports),
    )
    report.write(folder)
    Console(quiet=quiet).print(report.table())
    console.print(f"report: {folder / 'report.json'}, {folder / 'report.csv'}", markup=False)
    return report


def run_in_child(case: Case, command: Sequence[str] = _CHILD) -> CaseReport:
    """Run one case in a fresh process.

    Args:
        case: what to run.
        command: the program; it gets the job file and the result file as arguments (see `zoo.benchmarks.harness.case.main`).

    Returns:
        The figures, or why there are none: a case that fails, or dies, is reported and not raised.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        job, result, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        job.write_text(json.dumps({"case": asdict(case), "folder": scratch}), encoding="utf-8")
        with log.open("wb") as output:
            # a killed process tree is the run's end: run() stops the child when Ctrl-C interrupts the wait
            process = subprocess.run(
                [*command, str(job), str(result)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(), check=False
            )
        outcome: Mapping[str, Any] = {}
        if result.is_file():
            outcome = json.loads(result.read_text(encoding="utf-8"))
        measurement = Measurement.from_dict(outcome["measurement"]) if "measurement" in outcome else None
        error = None if measurement is not None else outcome.get("error") or _last_words(process.returncode, log)
    return CaseReport(
        name=case.name,
        task=case.task,
        backbone=case.backbone,
        data=case.test,
        engine=f"{case.engine}, {case.precision}",
        seconds=time.perf_counter() - start,
        expect=case.expect,
        measurement=measurement,
        error=error,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8"}


def _last_words(status: int, log: Path) -> str:
    """Say how a process ended that left no result, with the last lines it wrote."""
    end = f"exit status {status}"
    if status < 0:
        end = f"signal {signal.Signals(-status).name}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return "\n".join([*lines, f"the case's process ended with {end} and without a result"])


def _outcome(case: CaseReport) -> str:
    reason = f": {case.error}" if case.error else "".join(f"; {shortfall}" for shortfall in case.shortfalls)
    return f"{case.status} in {case.seconds:.0f} s{reason}"
