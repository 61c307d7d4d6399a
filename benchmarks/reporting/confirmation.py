"""Confirmation of regressions: the cases in question are run again, old and new in turn, before a regression is reported."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.benchmarks.harness.child import run_in_child
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.benchmarks.harness.report import CaseReport, Measurement, Report
from zoo.benchmarks.harness.results import code_fingerprint
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.reporting.comparison import LEAST_CHANGE, Change, Comparison, compare_measurements
from zoo.errors import InputError

Runner = Callable[[Case, Mapping[str, str]], CaseReport]


def _run(case: Case, environment: Mapping[str, str]) -> CaseReport:
    return run_in_child(case, environment=environment)


def check_old_code(folder: Path | None) -> None:
    """Raise an `InputError` if a folder isn't a checkout of the zoo."""
    if folder is not None and not (folder / "zoo" / "__init__.py").is_file():
        raise InputError(f"--old-code {folder} contains no zoo/__init__.py; expected a checkout of the zoo")


def confirm(
    comparison: Comparison,
    old: Report,
    new: Report,
    *,
    old_code: Path | None = None,
    rounds: int = 5,
    run: Runner = _run,
    say: Callable[[str], object] = str,
) -> Comparison:
    """Run the cases with regressions again, and keep only the regressions that appear again.

    In each round, every such case is run with the old and with the new settings. The old side is run again with the code in `old_code`, or
    with the installed code if the old report was made with it; otherwise its figures are those of the report. A speed has become worse if
    it is slower in every round and by at least 3 % in the median; a score if it is worse in every round. A case is dropped as soon as all
    of its regressions are refuted.

    Args:
        comparison: the comparison of the reports.
        old: the old report.
        new: the new report, which must have been made by the installed code on this machine.
        old_code: a checkout of the code with which the old report was made.
        rounds: number of rounds, at least 1.
        run: function that runs a case with additional environment variables.
        say: receives progress messages.

    Returns:
        The comparison, with "same" as the verdict of refuted regressions, and a note that describes the confirmation.

    Raises:
        InputError: `rounds` is less than 1, or `old_code` isn't a checkout.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; expected a whole number above 0")
    check_old_code(old_code)
    if not comparison.regressions:
        return comparison
    obstacle = _obstacle(new)
    if obstacle:
        return replace(comparison, notes=(*comparison.notes, f"regressions are not confirmed by another run: {obstacle}"))
    sides = _Sides(old, new, old_code, run, say)
    suspects = {change: list[Change]() for change in comparison.regressions}
    for number in range(1, rounds + 1):
        for name in dict.fromkeys(change.case for change in suspects):
            again = {change.figure: change for change in sides.compared(name, f"round {number}/{rounds}", swap=number % 2 == 0)}
            for change in [suspect for suspect in suspects if suspect.case == name]:
                suspects[change].append(again.get(change.figure, change))
        suspects = {change: found for change, found in suspects.items() if _worse(found[-1])}
    kept = {change for change, found in suspects.items() if _confirmed(found)}
    changes = tuple(replace(c, verdict="same") if c.verdict == "worse" and c not in kept else c for c in comparison.changes)
    how = f"{len(kept)} of {len(comparison.regressions)} regressions appeared again in {rounds} further runs, {sides.how}"
    return replace(comparison, changes=changes, notes=(*comparison.notes, how))


def _obstacle(new: Report) -> str | None:
    """Return why the cases of the new report can't be measured again under the same conditions; None if they can."""
    if new.code.get("fingerprint") != code_fingerprint():
        return "the new report was made with other code than the installed one"
    if {**new.machine} != describe_machine():
        return "the new report was made on another machine, or with other versions of packages"
    return None


def _worse(change: Change) -> bool:
    """Return whether a single run points to a regression, however small."""
    if change.score:
        return change.verdict == "worse"
    slower = change.change < 1 if change.figure == "images_per_second" else change.change > 1
    return slower if change.figure != "peak_memory_mib" else change.verdict == "worse"


def _confirmed(found: list[Change]) -> bool:
    """Return whether all rounds together confirm a regression; each of them points to one."""
    if found[0].score or found[0].figure == "peak_memory_mib":
        return True
    factor = statistics.median(1 / change.change if change.figure == "images_per_second" else change.change for change in found)
    return factor >= LEAST_CHANGE


@dataclass
class _Sides:
    """The old and the new side of a case, run in turn."""

    old: Report
    new: Report
    old_code: Path | None
    run: Runner
    say: Callable[[str], object]

    def __post_init__(self) -> None:
        self._old_runs = self.old_code is not None or self.old.code.get("fingerprint") == code_fingerprint()

    @property
    def how(self) -> str:
        """Description of the old side."""
        code = "the installed code" if self.old_code is None else f"the code in {self.old_code}"
        if self._old_runs:
            return f"in turn with runs of the old side by {code}"
        return "compared with the figures of the old report, whose code is not installed"

    def compared(self, name: str, label: str, swap: bool) -> list[Change]:
        """Run both sides of a case, the new one first if `swap` is true, and compare them."""
        found: dict[str, Measurement | None] = {}
        for side in ("new", "old") if swap else ("old", "new"):
            case = self._case(self.old if side == "old" else self.new, name)
            if side == "old" and not self._old_runs:
                found[side] = case.measurement
                continue
            variables: dict[str, Any] = {}
            if side == "old" and self.old_code is not None:
                variables["PYTHONPATH"] = str(self.old_code.resolve())
            self.say(f"{label}: {name}, {side} …")
            result = self.run(Case(**case.settings), variables)
            self.say(f"{label}: {name}, {side}: {'measured' if result.measurement else f'failed: {result.error}'}")
            # a side that fails now keeps the figures of its report
            found[side] = result.measurement or case.measurement
        assert found["old"] is not None, "both reports have figures of a case with a regression"
        assert found["new"] is not None, "both reports have figures of a case with a regression"
        return compare_measurements(name, found["old"], found["new"])

    @staticmethod
    def _case(report: Report, name: str) -> CaseReport:
        return next(case for case in report.cases if case.name == name)
