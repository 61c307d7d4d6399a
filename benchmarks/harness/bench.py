"""Run a benchmark suite. Each case runs in a separate process: its memory is measured alone, and a failure doesn't stop the suite."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from zoo.benchmarks.harness.case import check_case
from zoo.benchmarks.harness.child import case_report, run_in_child
from zoo.benchmarks.harness.limits import parse_duration
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.benchmarks.harness.report import CaseReport, Report
from zoo.benchmarks.harness.results import Results, code_fingerprint, commit
from zoo.benchmarks.harness.suite import Case, Suite, in_words
from zoo.benchmarks.harness.suite_file import read_suite
from zoo.benchmarks.harness.table import terminal_table
from zoo.benchmarks.reporting.page import write_pages
from zoo.errors import InputError, check_positive
from zoo.system.disk import ELSEWHERE, StorageError, storing
from zoo.system.wording import counted

_NO_BUDGET = "the budget was used before this case began; the same command runs it"


def bench(
    suite: str | Path = "quick",
    *,
    out: str | Path = "bench",
    cases: Sequence[str] | None = None,
    only: Sequence[str] = (),
    engine: str | None = None,
    precision: str | None = None,
    seeds: int | None = None,
    timeout: float | str | None = None,
    memory_mib: float | None = None,
    budget: float | str | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Report:
    """Run a benchmark suite and write `report.html`, `report.json`, `report.csv` and `report.md`.

    Every finished case is stored in `out` at once. A later call with the same `out` runs only cases that aren't stored there: those that an
    interruption prevented, those that failed, and those whose settings, data, code or machine have changed.

    Args:
        suite: name of a packaged suite, or path of a TOML file.
        out: output folder; an existing report in it is overwritten.
        cases: names of the cases to run; None runs all of them.
        only: patterns such as "digits*"; only cases whose name matches one of them are run. No patterns run all cases.
        engine: engine for all cases, as in `zoo.compile`; None uses the suite's setting.
        precision: precision for all cases; None uses the suite's setting.
        seeds: number of runs of each case, with different seeds and the names NAME@SEED; None runs each case once.
        timeout: time limit of each case, as seconds or text such as "10m"; None uses the suite's setting. A case that exceeds it is killed,
            and reported as failed.
        memory_mib: limit of the resident memory of each case's processes in MiB; None uses the suite's setting.
        budget: time for all cases, as seconds or text such as "30m". Cases that haven't begun by then are reported as skipped. None for no
            limit.
        fresh: whether to run all cases, also those that are stored in `out`.
        quiet: whether to suppress the progress messages (standard error) and the table (standard output).

    Returns:
        The report. Its `ok` is True if no case failed and every score reached its expected minimum.

    Raises:
        InputError: the suite, a case, a limit or `out` is invalid. This is checked before any case runs.
        StorageError: a result can't be written. Results that were written before are kept.
    """
    limits = {"timeout": None if timeout is None else parse_duration(timeout, "timeout"), "memory_mib": memory_mib}
    check_positive("bench", **{name: value for name, value in limits.items() if value is not None})
    seconds = None if budget is None else parse_duration(budget, "budget")
    settings: dict[str, Any] = {
        name: value for name, value in {"engine": engine, "precision": precision, **limits}.items() if value is not None
    }
    chosen, folder = read_suite(suite).pick(cases), Path(out)
    chosen = (chosen if seeds is None else chosen.with_seeds(seeds)).matching(only)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {folder} is a file; expected a folder for the report")
    chosen = replace(chosen, cases=tuple(replace(case, **settings) for case in chosen.cases))
    for case in chosen.cases:
        check_case(case, partial(_place, chosen, case.name, settings))
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)
    machine = describe_machine()
    results = Results(folder, machine)
    with storing(results.folder, remedy=ELSEWHERE):
        results.folder.mkdir(parents=True, exist_ok=True)
    arguments = {"suite": str(suite), **settings, **({} if seeds is None else {"seeds": seeds})}
    return _Run(chosen, folder, results, machine, console, fresh, seconds, arguments).report(quiet)


def _place(suite: Suite, case: str, settings: Mapping[str, Any], key: str) -> str:
    return f"case {case}" if key in settings else suite.place(case, key)


@dataclass(frozen=True)
class _Run:
    """A run of a suite that continues from stored results."""

    suite: Suite
    folder: Path
    results: Results
    machine: dict[str, Any]
    console: Console
    fresh: bool
    budget_s: float | None
    arguments: Mapping[str, Any]

    def report(self, quiet: bool) -> Report:
        """Run all cases, write the reports and print the table."""
        started, clock = datetime.now(UTC), time.perf_counter()
        reports: list[CaseReport] = []

        def whole() -> Report:
            code = {"fingerprint": code_fingerprint(), "commit": commit()}
            seconds = time.perf_counter() - clock
            return Report(
                self.suite.name, started.isoformat(timespec="seconds"), seconds, self.machine, tuple(reports), code, self.arguments
            )

        output = Console(quiet=quiet, emoji=False)
        try:
            for number, case in enumerate(self.suite.cases, start=1):
                late = self.budget_s is not None and time.perf_counter() - clock >= self.budget_s
                self._case(case, f"{number}/{len(self.suite.cases)} {case.name}", late, reports)
            report = whole()
            report.write(self.folder)
            write_pages(report, self.folder)
        except StorageError:
            if reports:
                output.print(terminal_table(whole()))  # the figures that can't be stored
            raise
        except KeyboardInterrupt:
            kept = sum(case.measurement is not None for case in reports)
            stored = f"{kept} of {counted(len(self.suite.cases), 'case')} {'is' if kept == 1 else 'are'} stored in {self.folder}"
            self.console.print(f"{stored}; the same command runs the others", markup=False)
            raise
        output.print(terminal_table(report))
        self._say("report: " + ", ".join(str(self.folder / f"report.{kind}") for kind in ("html", "json", "csv", "md")))
        return report

    def _case(self, case: Case, label: str, late: bool, reports: list[CaseReport]) -> None:
        """Append the report of a case: the stored one, or that of a new run, which is stored."""
        inputs = self.results.inputs(case)
        stored = self.results.find(case, inputs)
        if stored is not None and not self.fresh:
            reports.append(stored)
            self._say(f"{label}: {stored.status}, measured before and stored in {self.folder}; --fresh runs it again")
            return
        if late:
            reports.append(case_report(case, not_run=_NO_BUDGET))
            self._say(f"{label}: skipped: {_NO_BUDGET}")
            return
        self._say(f"{label}: {in_words(case.task)}, {case.backbone} on {in_words(case.train or case.test)} …")
        done = run_in_child(case)
        reports.append(done)
        if stored is None or done.measurement is not None:  # a failure doesn't replace figures
            self.results.add(inputs, done)
        reason = f": {done.error}" if done.error else "".join(f"; {shortfall}" for shortfall in done.shortfalls)
        self._say(f"{label}: {done.status} in {done.seconds:.0f} s{reason}")

    def _say(self, message: str) -> None:
        self.console.print(message, markup=False)
