"""The progress display, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.small_training import RECIPE, coloured, fresh
from zoo.system.progress import Part, Progress
from zoo.training.tracking import TrainingProgress
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


class Clock:
    """A clock that the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def shown(progress: Progress, terminal: bool, width: int = 80) -> io.StringIO:
    """Redirect a display into a string buffer, and return it."""
    drawn = io.StringIO()
    progress._console = Console(
        file=drawn, force_terminal=terminal, width=width, color_system=None, soft_wrap=not terminal, highlight=False
    )
    return drawn


def test_plain_lines_come_now_and_then_and_say_what_is_left(clock: Clock) -> None:
    progress = Progress()
    drawn = shown(progress, terminal=False)
    with progress:
        training = TrainingProgress(progress, epochs=3, per_epoch=10)
        training.begin_run(12)  # a resumed run
        training.begin_epoch(12)
        for _ in range(8):
            clock.now += 10
            training.batch(0.51234, 40)
        training.scored({"top1": 0.875, "auc": None})
        training.begin_epoch(20)
        for _ in range(2):
            clock.now += 10
            training.batch(0.25, 2)
        training.begin_epoch(30)  # there is no fourth epoch
    assert drawn.getvalue().splitlines() == [
        "epoch 2/3: 4/10 loss 0.512, 4.0 images/s, 0:01:00 left, run 0:02:40 left",
        "epoch 2/3: 6/10 loss 0.512, 4.0 images/s, 0:00:40 left, run 0:02:20 left",
        "epoch 2/3: 8/10 loss 0.512, 4.0 images/s, 0:00:20 left, run 0:02:00 left",
        "epoch 3/3: 2/10 loss 0.250, top1 0.8750, 0.2 images/s, 0:01:20 left, run 0:01:20 left",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_both_bars_whole(width: int) -> None:
    progress = Progress()
    shown(progress, terminal=True, width=width)
    with progress:
        training = TrainingProgress(progress, epochs=20, per_epoch=94)
        training.begin_run(0)
        training.begin_epoch(0)
        training.scored({"top1": 0.7812})
        for _ in range(30):
            training.batch(0.51234, 1)
        assert progress._bars is not None
        drawn = io.StringIO()
        Console(file=drawn, width=width, color_system=None).print(progress._bars.get_renderable())
    run, epoch = (line.rstrip() for line in drawn.getvalue().splitlines())
    assert re.fullmatch(r"run +\S* *30/1880 +(\d:\d\d:\d\d|-:--:--)", run)
    assert re.fullmatch(r"epoch 1/20 \S+ +30/94 +(\d:\d\d:\d\d|-:--:--) loss 0.512, top1 0.7812, \d+ images/s", epoch)


def test_the_bar_before_makes_room_for_the_next_and_brackets_are_no_markup() -> None:
    progress = Progress()
    shown(progress, terminal=True)
    with progress:
        progress.begin_whole("run", 4)
        progress.begin("first", 2)
        progress.begin("second [red]", 2)
        progress.advance("[bold]")
        assert progress._bars is not None
        drawn = io.StringIO()
        Console(file=drawn, width=80, color_system=None).print(progress._bars.get_renderable())
    assert "first" not in drawn.getvalue()
    assert "second [red]" in drawn.getvalue()
    assert "1/2" in drawn.getvalue()
    assert "[bold]" in drawn.getvalue()


def test_work_inside_an_epoch_leaves_the_bar_of_the_run_alone(clock: Clock) -> None:
    progress = Progress()
    drawn = shown(progress, terminal=False)
    progress.begin_whole("run", 100)
    progress.begin("evaluating", 100)
    clock.now += 20
    progress.advance(steps=50)
    assert drawn.getvalue() == "evaluating: 50/100, 0:00:20 left\n"


def test_quiet_is_quiet_and_a_part_moves_the_larger_bar(clock: Clock) -> None:
    quiet = Progress(enabled=False)
    drawn = shown(quiet, terminal=True)
    with quiet:
        quiet.advance()  # nothing has begun
        quiet.advance_whole()
        quiet.begin("a", 10)
        clock.now += 100
        quiet.advance()
        quiet.say("nothing")
    assert drawn.getvalue() == ""
    larger = Progress()
    drawn = shown(larger, terminal=False)
    larger.begin("sweep", 4)
    part = Part(larger, "fog 3")
    part.begin("evaluating", 20)
    clock.now += 16
    part.advance(steps=20)
    part.say("a line")
    assert drawn.getvalue() == "sweep: 1/4 fog 3, 0:00:48 left\na line\n"


class Counting(Progress):
    """Records the operations of a training run on its bars."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.whole: list[tuple[str, int, int]] = []
        self.parts: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.moved = 0.0

    def begin_whole(self, label: str, total: int, done: int = 0) -> None:
        self.whole.append((label, total, done))

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.parts.append((label, total, done))

    def advance(self, note: str = "", steps: float = 1) -> None:
        self.notes += [note] if note else []

    def advance_whole(self, steps: float = 1) -> None:
        self.moved += steps


def test_a_training_moves_both_bars(tmp_path: Path) -> None:
    seen = Counting()
    run = train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", progress=seen)
    assert seen.whole == [("run", 6, 0)]
    assert [part for part in seen.parts if part[0].startswith("epoch")] == [("epoch 1/2", 3, 0), ("epoch 2/2", 3, 0)]
    assert seen.moved == 6
    assert re.fullmatch(r"loss \d\.\d{3}, [\d.]+ images/s", seen.notes[0])
    score = run.history[0]["val"]["top1"]
    assert re.fullmatch(rf"loss \d\.\d{{3}}, top1 {score:.4f}, [\d.]+ images/s", seen.notes[3])
