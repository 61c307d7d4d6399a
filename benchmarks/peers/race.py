"""Several ways to do one piece of work, timed in turn and their answers compared: a fast wrong answer must show."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WARM = 4  # calls before the clock counts: an engine makes a graph of its own for a size at the third
_PATIENCE = 20  # a rival whose call takes more than this part of the budget is warmed up by one
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
    warm = [_warmed(work, clock, math.inf if work is contest.ours else budget_s / _PATIENCE) for work in works]
    times = _turns(works, [max(1, round(_TURN_S / max(seconds, 1e-6))) for _, seconds in warm], rounds, budget_s, clock)
    seconds, *others = [statistics.median(each) for each in times]
    beaten = []
    for rival, theirs, (answer, _) in zip(contest.rivals, others, warm[1:], strict=True):
        difference = contest.compare(answer, warm[0][0])
        right = contest.tolerance.allows(difference)
        beaten.append(Beaten(rival.name, theirs, round(theirs / seconds, 2), rival.promise, difference, right))
    return Outcome(key, title, precision, judged, contest.pictures, seconds, len(times[0]), tuple(beaten), contest.operations)


def _warmed(work: Work, clock: Callable[[], float], patience_s: float) -> tuple[Any, float]:
    """Return the answer and the seconds of the last of some calls; of one, where that takes long: nothing is gained but the wait."""
    for _ in range(_WARM):
        start = clock()
        answer = work()
        seconds = clock() - start
        if seconds > patience_s:
            break
    return answer, seconds


def _turns(works: Sequence[Work], calls: Sequence[int], rounds: int, budget_s: float, clock: Callable[[], float]) -> list[list[float]]:
    """Return the seconds of a call, turn by turn, of each side."""
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
