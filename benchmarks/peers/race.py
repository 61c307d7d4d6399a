"""Several ways to do one piece of work, timed in turn and their answers compared: a fast wrong answer must show."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_WARM = 4  # calls before the clock counts: an engine makes a graph of its own for a size at the third
_TURN_S = 0.3  # of a turn, at least: single calls of a few milliseconds are at the mercy of the scheduler

Work = Callable[[], Any]


@dataclass(frozen=True)
class Difference:
    """How far our answer is from another one.

    Attributes:
        error: of its numbers, as a part of the other's; None where it has none.
        same: the part of the answers (classes, boxes, faces) that are the same.
    """

    error: float | None
    same: float


@dataclass(frozen=True)
class Tolerance:
    """How far it may be.

    Attributes:
        error: at most.
        same: at least.
    """

    error: float
    same: float

    def allows(self, difference: Difference) -> bool:
        """Tell whether a difference is within it; a number that isn't one never is."""
        return difference.same >= self.same and (difference.error is None or difference.error <= self.error)


@dataclass(frozen=True)
class Rival:
    """Another library's way.

    Attributes:
        name: in the table.
        work: does the whole piece, and returns the answer.
        promise: how many times as quick the zoo is to be.
    """

    name: str
    work: Work
    promise: float


@dataclass(frozen=True)
class Contest:
    """One row of the table, ready to run.

    Attributes:
        ours: the zoo's way.
        rivals: the others.
        compare: of a rival's answer and ours.
        tolerance: for every rival.
        pictures: in a piece of work.
        operations: multiplications and additions in it; None where they depend on the pictures.
    """

    ours: Work
    rivals: tuple[Rival, ...]
    compare: Callable[[Any, Any], Difference]
    tolerance: Tolerance
    pictures: int
    operations: float | None


@dataclass(frozen=True)
class Beaten:
    """What came out beside one rival.

    Attributes:
        name: the rival's.
        seconds: its median.
        ratio: how many times as quick the zoo is, to two decimals.
        promise: that it is to be.
        difference: of the answers.
        right: whether that is within what is allowed.
    """

    name: str
    seconds: float
    ratio: float
    promise: float
    difference: Difference
    right: bool


@dataclass(frozen=True)
class Outcome:
    """What came out of a row.

    Attributes:
        key: the row's, as in `--rows`.
        title: what was done, in words.
        precision: that the zoo computed in.
        judged: whether the promises hold for this processor.
        pictures: in a piece of work.
        seconds: the zoo's median for one; None where it refused to.
        rounds: that medians are of.
        beaten: beside each rival.
        operations: multiplications and additions in a piece.
        fault: why there is no figure.
    """

    key: str
    title: str
    precision: str
    judged: bool
    pictures: int = 0
    seconds: float | None = None
    rounds: int = 0
    beaten: tuple[Beaten, ...] = ()
    operations: float | None = None
    fault: str | None = None

    @property
    def met(self) -> bool:
        """Whether answers are right, and speed is what is promised where that is judged."""
        return self.fault is None and all(each.right and (not self.judged or each.ratio >= each.promise) for each in self.beaten)

    def part_of(self, peaks: Mapping[str, float | None]) -> float | None:
        """Return the part of the processor's peak that the zoo reaches.

        Args:
            peaks: operations per second, by precision.
        """
        peak = peaks.get(self.precision)
        return None if peak is None or self.seconds is None or self.operations is None else self.operations / self.seconds / peak


def run(
    key: str,
    title: str,
    precision: str,
    judged: bool,
    contest: Contest,
    rounds: int,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Warm all sides up, compare their answers, and let them take turns.

    Args:
        key: of the row.
        title: of the row.
        precision: of the zoo.
        judged: whether the promises count.
        contest: the sides.
        rounds: turns of each side.
        budget_s: after which no other round starts.
        clock: seconds, monotonic.
    """
    works = [contest.ours, *(rival.work for rival in contest.rivals)]
    answers, repeats = [], []
    for work in works:
        seconds = 0.0
        for _ in range(_WARM):
            start = clock()
            answer = work()
            seconds = clock() - start
            if work is not contest.ours and seconds > budget_s / 20:  # nothing to gain but the wait
                break
        answers.append(answer)
        repeats.append(max(1, round(_TURN_S / max(seconds, 1e-6))) if seconds < _TURN_S else 1)
    times: list[list[float]] = [[] for _ in works]
    begin = clock()
    for number in range(rounds):
        if number and clock() - begin > budget_s:
            break
        order = list(range(len(works)))
        for place in order if number % 2 else reversed(order):
            start = clock()
            for _ in range(repeats[place]):
                works[place]()
            times[place].append((clock() - start) / repeats[place])
    medians = [statistics.median(each) for each in times]
    beaten = []
    for rival, seconds, answer in zip(contest.rivals, medians[1:], answers[1:], strict=True):
        difference = contest.compare(answer, answers[0])
        right = contest.tolerance.allows(difference)
        beaten.append(Beaten(rival.name, seconds, round(seconds / medians[0], 2), rival.promise, difference, right))
    return Outcome(
        key, title, precision, judged, contest.pictures, medians[0], len(times[0]), tuple(beaten), contest.operations
    )  # fmt: skip
