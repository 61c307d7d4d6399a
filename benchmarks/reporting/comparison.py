"""Comparison of two benchmark reports: which scores and speeds differ by more than noise.

Speeds: the blocks of calls of each report are resampled, and the ratio of their medians has a 99 % bootstrap interval. Scores: bootstrap
replicates on the same data are paired, so that their difference has a 95 % interval; without them, the two intervals are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.benchmarks.harness.report import CaseReport, Measurement, Report
from zoo.errors import InputError

LEAST_CHANGE = 1.03  # speeds that differ by a smaller factor are the same, whatever their intervals are
SUSPECT_CHANGE = 1.02  # speeds that are slower by this factor are measured again
SPEEDS = ("latency_ms", "images_per_second")
_MEMORY_FACTOR, _MEMORY_MIB = 1.1, 20  # memory that grows by less is the same; it isn't measured repeatedly
_DRAWS = 2000
_FEWEST = 5  # blocks or replicates that an interval needs
_NOT_SOFTWARE = ("cpu", "cores", "memory_mib", "accelerator", "threads", "system")  # parts of the machine that make speeds comparable

Verdict = Literal["worse", "better", "same"]


@dataclass(frozen=True)
class Change:
    """Change of one figure of one case between two reports."""

    case: str
    figure: str
    old: float
    new: float
    change: float  # difference new − old of scores, ratio new / old of other figures
    interval: tuple[float, float] | None  # interval of the change; None if it can't be computed
    verdict: Verdict
    score: bool = False  # whether the figure is a score

    @property
    def slowdown(self) -> float:
        """Ratio of durations new / old, for latency and rates."""
        return 1 / self.change if self.figure == "images_per_second" else self.change

    @property
    def suspect(self) -> bool:
        """Whether further runs are needed to exclude a regression: the figure is worse, or a speed is, but perhaps by noise."""
        return self.verdict == "worse" or (self.figure in SPEEDS and self.slowdown >= SUSPECT_CHANGE)


@dataclass(frozen=True)
class Comparison:
    """Result of comparing two reports."""

    changes: tuple[Change, ...]  # all compared figures, including unchanged ones
    failures: Mapping[str, str] = field(default_factory=dict)  # cases that have become worse as a whole, with the reason
    notes: tuple[str, ...] = ()  # what couldn't be compared, and why

    @property
    def regressions(self) -> list[Change]:
        """Figures that are worse by more than noise."""
        return [change for change in self.changes if change.verdict == "worse"]

    @property
    def ok(self) -> bool:
        """Whether there is neither a regression nor a case that has become worse as a whole. Otherwise, the exit status is 1."""
        return not self.regressions and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        changes = [asdict(change) for change in self.changes]
        return {"ok": self.ok, "changes": changes, "failures": dict(self.failures), "notes": list(self.notes)}


def read_side(path: Path) -> Report:
    """Read a report.json, or the one in a folder.

    Raises:
        InputError: there is no report, or it can't be read.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected the output folder of zoo bench, or its report.json")
    return Report.read(path / "report.json" if path.is_dir() else path)


def compare_reports(old: Report, new: Report) -> Comparison:
    """Compare the cases of the same name in two reports.

    Speeds and memory are compared only if both reports are of the same machine.

    Raises:
        InputError: no case is in both reports.
    """
    before, after = ({case.name: case for case in report.cases} for report in (old, new))
    both = [name for name in before if name in after]
    if not both:
        raise InputError(f"the reports have no case in common: {', '.join(before)}, and {', '.join(after)}")
    differing = [f"{key} {old.machine.get(key)} and {new.machine.get(key)}" for key in _NOT_SOFTWARE if not _same(old, new, key)]
    notes = [f"speeds and memory are not compared, because the machines differ: {'; '.join(differing)}"] if differing else []
    notes += [f"{name} is only in the old report" for name in before if name not in after]
    notes += [f"{name} is only in the new report" for name in after if name not in before]
    changes: list[Change] = []
    failures = {}
    for name in both:
        a, b = before[name], after[name]
        failure = _failure(a, b)
        if failure:
            failures[name] = failure
        if a.measurement is not None and b.measurement is not None:
            notes += _not_alike(a, b)
            changes += compare_measurements(name, a.measurement, b.measurement, speeds=not differing)
        elif not failure:
            notes.append(f"{name} is not compared: it is {a.status} in the old report and {b.status} in the new one")
    return Comparison(tuple(changes), failures, tuple(notes))


def compare_measurements(case: str, old: Measurement, new: Measurement, speeds: bool = True) -> list[Change]:
    """Compare the scores and, with `speeds`, the latency, throughput and memory of a case."""
    found = list(_scores(case, old, new))
    if speeds:
        latency = _slower(case, "latency_ms", old.latency.blocks_ms, new.latency.blocks_ms, (old.latency.median_ms, new.latency.median_ms))
        rates = (old.throughput.images_per_second, new.throughput.images_per_second)
        found += [latency]
        if old.throughput.batch_size == new.throughput.batch_size:
            found.append(_slower(case, "images_per_second", old.throughput.blocks_ms, new.throughput.blocks_ms, rates, inverse=True))
        found.append(_memory(case, old.peak_memory_mib, new.peak_memory_mib))
    return found


def _same(old: Report, new: Report, key: str) -> bool:
    return bool(old.machine.get(key) == new.machine.get(key))


def _failure(old: CaseReport, new: CaseReport) -> str | None:
    """Return why a case has become worse as a whole; None if it hasn't."""
    if new.status == "failed" and old.status != "failed":
        return f"failed: {(new.error or '').strip().splitlines()[-1]}"
    missed = [message for message in new.shortfalls if message.split()[0] not in {one.split()[0] for one in old.shortfalls}]
    return "; ".join(missed) if new.status == "regression" and missed else None


def _not_alike(old: CaseReport, new: CaseReport) -> Iterator[str]:
    a, b = old.measurement, new.measurement
    if a is not None and b is not None and a.data_fingerprints != b.data_fingerprints:
        yield f"{old.name}: the data differs between the reports, so that differences of scores also contain those of the data"
    keys = {*old.settings, *new.settings} - {"expect", "timeout", "memory_mib"}
    differing = [key for key in sorted(keys) if old.settings.get(key) != new.settings.get(key)]
    if differing:
        yield f"{old.name}: the settings differ between the reports ({', '.join(differing)})"


def _scores(case: str, old: Measurement, new: Measurement) -> Iterator[Change]:
    """Compare the scores of which at least one report has replicates, or all of them if none has."""
    judged = {*old.replicates, *new.replicates} or {*old.scores}
    for name, a in old.scores.items():
        b = new.scores.get(name)
        if name not in judged or a is None or b is None:
            continue
        interval = _difference(old, new, name)
        verdict: Verdict = "same"
        if interval is not None:
            verdict = "worse" if interval[1] < 0 else "better" if interval[0] > 0 else "same"
        elif name in old.intervals and name in new.intervals:
            (low, high), (new_low, new_high) = old.intervals[name], new.intervals[name]
            verdict = "worse" if b < low and a > new_high else "better" if b > high and a < new_low else "same"
        else:
            verdict = "worse" if b < a else "better" if b > a else "same"
        yield Change(case, name, a, b, b - a, interval, verdict, score=True)


def _difference(old: Measurement, new: Measurement, name: str) -> tuple[float, float] | None:
    """Return the 95 % interval of the difference of a score, from replicates that are paired because they are of the same data."""
    a, b = (np.array(side.replicates.get(name, ()), np.float64) for side in (old, new))
    if old.data_fingerprints != new.data_fingerprints or old.n != new.n or len(a) != len(b) or len(a) < _FEWEST:
        return None
    differences = b - a
    differences = differences[np.isfinite(differences)]
    if len(differences) < _FEWEST:
        return None
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)


def _slower(
    case: str, figure: str, old: Sequence[float], new: Sequence[float], values: tuple[float, float], inverse: bool = False
) -> Change:
    """Compare the durations of calls. `values` are the figures of both reports, which are rates if `inverse` is true."""
    interval = ratio_interval(old, new)
    ratio = values[0] / values[1] if inverse else values[1] / values[0]  # of durations
    verdict: Verdict = "same"
    if interval is not None:
        slower, faster = ratio >= LEAST_CHANGE and interval[0] > 1, ratio <= 1 / LEAST_CHANGE and interval[1] < 1
        verdict = "worse" if slower else "better" if faster else "same"
    if inverse and interval is not None:
        interval = (1 / interval[1], 1 / interval[0])
    return Change(case, figure, values[0], values[1], values[1] / values[0], interval, verdict)


def ratio_interval(old: Sequence[float], new: Sequence[float]) -> tuple[float, float] | None:
    """Return the 99 % bootstrap interval of the ratio of the medians of two samples; None if one of them has fewer than five values."""
    if min(len(old), len(new)) < _FEWEST:
        return None
    generator = np.random.default_rng(0)
    medians = [np.median(generator.choice(np.array(side, np.float64), (_DRAWS, len(side))), axis=1) for side in (old, new)]
    low, high = np.percentile(medians[1] / medians[0], (0.5, 99.5))
    return float(low), float(high)


def _memory(case: str, old: float, new: float) -> Change:
    def grown(a: float, b: float) -> bool:
        return b > a * _MEMORY_FACTOR + _MEMORY_MIB

    verdict: Verdict = "worse" if grown(old, new) else "better" if grown(new, old) else "same"
    return Change(case, "peak_memory_mib", old, new, new / old, None, verdict)
