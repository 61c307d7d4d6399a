"""Run one benchmark case in a separate process, and report its result, its error, or how the process ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from zoo.benchmarks.harness.limits import run_limited
from zoo.benchmarks.harness.report import CaseReport, Measurement
from zoo.benchmarks.harness.suite import Case, in_words

# -P: a folder called zoo in the current directory must not shadow the installed package
CHILD = (sys.executable, "-P", "-m", "zoo.benchmarks.harness.case")
_LOG_LINES = 5  # number of lines copied from the end of a crashed process's log into the report


def run_in_child(case: Case, command: Sequence[str] = CHILD, environment: Mapping[str, str] | None = None) -> CaseReport:
    """Run one case with `command` and the paths of the job and result files (see `case.main`). Failures and crashes are reported.

    The process is killed if it exceeds the case's limits. `environment` are additional environment variables.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        job, result, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        job.write_text(json.dumps({"case": asdict(case), "folder": scratch}), encoding="utf-8")
        variables = {**os.environ, "PYTHONIOENCODING": "utf-8", **(environment or {})}
        with log.open("wb") as output:
            status, killed = run_limited([*command, str(job), str(result)], output, variables, case.timeout, case.memory_mib)
        outcome = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        measurement = Measurement.from_dict(outcome["measurement"]) if "measurement" in outcome else None
        error = None if measurement is not None else killed or outcome.get("error") or _last_words(status, log)
    return case_report(case, time.perf_counter() - start, measurement, error)


def case_report(
    case: Case, seconds: float = 0.0, measurement: Measurement | None = None, error: str | None = None, not_run: str | None = None
) -> CaseReport:
    """Return the report of a case: its measured figures, its error, or the reason why it was skipped."""
    return CaseReport(
        case.name,
        in_words(case.task),
        case.backbone,
        in_words(case.test),
        f"{case.engine}, {case.precision}",
        seconds,
        case.expect,
        measurement,
        error,
        not_run,
        asdict(case),
    )


def _last_words(status: int, log: Path) -> str:
    """Return an error message for a process that wrote no result: the last lines of its log, and its exit status or signal."""
    end = f"exit status {status}"
    if status < 0:
        end = f"signal {signal.Signals(-status).name}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return "\n".join([*lines, f"the case's process ended with {end} and without a result"])
