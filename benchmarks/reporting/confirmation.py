"""Confirmation of regressions: the cases in question are run again, old and new in turn, before a regression is reported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from zoo.benchmarks.harness.child import run_in_child
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.benchmarks.harness.report import CaseReport, Measurement, Report
from zoo.benchmarks.harness.results import code_fingerprint
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.reporting.comparison import LEAST_CHANGE, SPEEDS, Change, Comparison, compare_measurements
from zoo.errors import InputError

_FEWEST_ROUNDS = 4  # before a speed is judged by an interval

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
    rounds: int = 12,
    run: Runner = _run,
    say: Callable[[str], object] = str,
) -> Comparison:
    """Run the cases with regressions again, and keep only the regressions that appear again.

    A speed that is slower by at least 2 % is in question even if the reports alone do not show that it is more than noise. In a round, the
    cases in question are run with the old and with the new settings. The old side is run again with the code in `old_code`, or with the
    installed code if the old report was made with it; otherwise its figures are those of the report. Rounds end as soon as all regressions
    are confirmed or refuted: a speed by the interval of its ratio over the rounds (see `_answer`), a score by being worse in two rounds.

    Args:
        comparison: the comparison of the reports.
        old: the old report.
        new: the new report, which must have been made by the installed code on this machine.
        old_code: a checkout of the code with which the old report was made.
        rounds: maximum number of rounds, at least 1.
        run: function that runs a case with additional environment variables.
        say: receives progress messages.

    Returns:
        The comparison, with "same" as the verdict of refuted regressions and "worse" as that of confirmed ones, and a note.

    Raises:
        InputError: `rounds` is less than 1, or `old_code` isn't a checkout.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; expected a whole number above 0")
    check_old_code(old_code)
    suspects = [change for change in comparison.changes if change.suspect]
    if not suspects:
        return comparison
    obstacle = _obstacle(new)
    if obstacle:
        return replace(comparison, notes=(*comparison.notes, f"regressions are not confirmed by another run: {obstacle}"))
    sides = _Sides(old, new, old_code, run, say)
    open_questions = {change: list[Change]() for change in suspects}
    kept: set[Change] = set()
    for number in range(1, rounds + 1):
        for name in dict.fromkeys(change.case for change in open_questions):
            again = {change.figure: change for change in sides.compared(name, f"round {number}/{rounds}", swap=number % 2 == 0)}
            for change in [each for each in open_questions if each.case == name]:
                found = open_questions[change]
                found.append(again.get(change.figure, change))
                answer = _answer(found, last=number == rounds)
                if answer is not None:
                    del open_questions[change]
                    kept |= {change} if answer else set()
    return replace(
        comparison,
        changes=tuple(replace(c, verdict="worse" if c in kept else "same") if c in suspects else c for c in comparison.changes),
        notes=(*comparison.notes, f"{len(kept)} of {len(suspects)} suspected regressions appeared again in further runs, {sides.how}"),
    )


def _obstacle(new: Report) -> str | None:
    """Return why the cases of the new report can't be measured again under the same conditions; None if they can."""
    if new.code.get("fingerprint") != code_fingerprint():
        return "the new report was made with other code than the installed one"
    if {**new.machine} != describe_machine():
        return "the new report was made on another machine, or with other versions of packages"
    return None


def _answer(found: Sequence[Change], last: bool) -> bool | None:
    """Return whether the rounds confirm (True) or refute (False) a regression, or None if another round is needed.

    The ratios of durations are those of runs in turn, so that the load of the machine affects both sides alike. Their mean logarithm has a
    t-interval. It is confirmed as soon as the ratio is at least 3 % and the one-sided 99.5 % bound is above 1 (99 % in the last round), and
    refuted as soon as the ratio isn't above 1, or the 95 % bound excludes 3 %. In a simulation with pairs of runs that differ by 3 % (5 %)
    because of noise, 0.03 % (0.6 %) of equal speeds were confirmed as different, and 99.5 % (94 %) of slowdowns by 10 %.
    """
    if found[0].figure not in SPEEDS:
        return False if found[-1].verdict != "worse" else True if last or len(found) > 1 else None
    logs = [math.log(change.slowdown) for change in found]
    mean, least = statistics.fmean(logs), math.log(LEAST_CHANGE)
    if len(logs) < _FEWEST_ROUNDS:
        return mean >= least if last else None
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    low = mean - float(student.ppf(0.99 if last else 0.995, len(logs) - 1)) * error
    high = mean + float(student.ppf(0.95, len(logs) - 1)) * error
    if mean >= least and low > 0:
        return True
    return False if last or mean <= 0 or high < least else None


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
