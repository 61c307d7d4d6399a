"""Alternating timing of several libraries on the same task. Their results are compared too, so that wrong results are detected."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_WARM = 4  # number of warm-up calls; an engine compiles a graph for a new input size at the third call
_PATIENCE = 20  # a library gets no further warm-up calls after one that takes more than 1 / _PATIENCE of the time budget
_TURN_S = 0.3  # minimum seconds measured at once, because the scheduler distorts the times of single short calls

Work = Callable[[], Any]


@dataclass(frozen=True)
class Difference:
    """Difference between the zoo's result and that of another library."""

    error: float | None  # relative error of logits, or distance of embeddings; None for results without numbers
    same: float  # fraction of the predictions (classes, boxes, faces) that are equal


@dataclass(frozen=True)
class Tolerance:
    """Maximum difference at which two results count as equal."""

    error: float  # maximum of `Difference.error`
    same: float  # minimum of `Difference.same`

    def allows(self, difference: Difference) -> bool:
        """Return whether a difference is within the limits. A NaN error is not."""
        return difference.same >= self.same and (difference.error is None or difference.error <= self.error)


@dataclass(frozen=True)
class Rival:
    """Library with which the zoo is compared."""

    name: str
    work: Work  # function that performs the task and returns its result
    promise: float  # target: minimum ratio of the library's time to the zoo's


@dataclass(frozen=True)
class Contest:
    """Task of one row of the table, prepared for all libraries."""

    ours: Work  # function that performs the task with the zoo and returns its result
    rivals: tuple[Rival, ...]  # libraries with which the zoo is compared
    compare: Callable[[Any, Any], Difference]  # function that compares a library's result with the zoo's
    tolerance: Tolerance  # maximum difference from the zoo's result
    pictures: int  # number of images in the task
    operations: float | None  # number of multiplications and additions in the task; None if it depends on the images


@dataclass(frozen=True)
class Beaten:
    """Result of the comparison with one library."""

    name: str
    seconds: float  # median time of the library in seconds
    ratio: float  # median time of the library divided by that of the zoo, rounded to two decimals
    promise: float  # target: minimum ratio
    difference: Difference  # difference between the results of the library and of the zoo
    right: bool  # whether the difference is within the tolerance


@dataclass(frozen=True)
class Outcome:
    """Result of one row of the table."""

    key: str  # key of the row in `--rows`
    title: str  # title of the row in the table
    precision: str  # precision of the zoo
    judged: bool  # whether the targets apply to this processor
    pictures: int = 0
    seconds: float | None = None  # median time of the zoo in seconds; None if the row failed
    rounds: int = 0  # number of completed rounds
    beaten: tuple[Beaten, ...] = ()
    operations: float | None = None  # number of multiplications and additions in the task; None if unknown
    fault: str | None = None  # error message if the row failed

    @property
    def met(self) -> bool:
        """Whether the benchmark for this row ran, all results are correct, and all ratios meet their targets, if any."""
        return self.fault is None and all(each.right and (not self.judged or each.ratio >= each.promise) for each in self.beaten)

    def part_of(self, peaks: Mapping[str, float | None]) -> float | None:
        """Return the fraction of the peak performance that the zoo reaches, if known. `peaks` are operations per second by precision."""
        peak = peaks.get(self.precision)
        return None if peak is None or self.seconds is None or self.operations is None else self.operations / self.seconds / peak


def run(row: Outcome, contest: Contest, rounds: int, budget_s: float, clock: Callable[[], float] = time.perf_counter) -> Outcome:
    """Return the row with the figures of up to `rounds` rounds that run all libraries in turn; none starts after `budget_s` seconds."""
    works = [contest.ours, *(rival.work for rival in contest.rivals)]
    warm = [_warmed(work, clock, math.inf if work is contest.ours else budget_s / _PATIENCE) for work in works]
    times = _turns(works, [max(1, round(_TURN_S / max(seconds, 1e-6))) for _, seconds in warm], rounds, budget_s, clock)
    seconds, *others = [statistics.median(each) for each in times]
    beaten = []
    for rival, theirs, (answer, _) in zip(contest.rivals, others, warm[1:], strict=True):
        difference = contest.compare(answer, warm[0][0])
        right = contest.tolerance.allows(difference)
        beaten.append(Beaten(rival.name, theirs, round(theirs / seconds, 2), rival.promise, difference, right))
    figures: dict[str, Any] = {"pictures": contest.pictures, "operations": contest.operations, "rounds": len(times[0])}
    return replace(row, seconds=seconds, beaten=tuple(beaten), **figures)


def _warmed(work: Work, clock: Callable[[], float], patience_s: float) -> tuple[Any, float]:
    """Make warm-up calls until one takes longer than `patience_s`; return the result of the last call and its duration in seconds."""
    for _ in range(_WARM):
        start = clock()
        answer = work()
        seconds = clock() - start
        if seconds > patience_s:
            break
    return answer, seconds


def _turns(works: Sequence[Work], calls: Sequence[int], rounds: int, budget_s: float, clock: Callable[[], float]) -> list[list[float]]:
    """Run the functions alternately; return the seconds per call in each round, for each function."""
    times: list[list[float]] = [[] for _ in works]
    begin = clock()
    for number in range(rounds):
        if number and clock() - begin > budget_s:
            break
        places = range(len(works))
        for place in places if number % 2 else reversed(places):
            start = clock()
            for _ in range(calls[place]):
                works[place]()
            times[place].append((clock() - start) / calls[place])
    return times
