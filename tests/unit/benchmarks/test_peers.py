"""The comparison with other libraries: timing, verdicts and output, and a real run of small rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import write_picture
from zoo.benchmarks.face_pipeline import Answer
from zoo.benchmarks.harness.measurement import peaks
from zoo.benchmarks.peers import __main__ as peers
from zoo.benchmarks.peers import race, rows
from zoo.benchmarks.peers.race import Contest, Difference, Outcome, Rival, Tolerance
from zoo.benchmarks.peers.rivals import compare_boxes
from zoo.benchmarks.peers.rows import ROWS, Row, compare_faces
from zoo.benchmarks.peers.shared import Setting
from zoo.compilation.agreement import DisagreementError
from zoo.engines import ENGINES
from zoo.errors import DataError, InputError
from zoo.system import hardware

pytestmark = pytest.mark.usefixtures("one_thread")

PEAKS: dict[str, float | None] = {"fp32": 100e9, "bf16": None, "int8": 200e9}


class Clock:
    """A clock that advances only during work."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, answer: object, *seconds: float) -> Callable[[], object]:
        left: Iterator[float] = iter(seconds)

        def work() -> object:
            self.order.append(name)
            self.now += next(left, seconds[-1])
            return answer

        return work


def contest(clock: Clock, ours: float = 1.0, theirs: float = 4.0, answer: float = 1.0) -> Contest:
    return Contest(
        clock.work("ours", answer, ours),
        (Rival("other", clock.work("other", 1.0, theirs), 3.0),),
        lambda theirs, ours: Difference(abs(theirs - ours), 1.0),
        Tolerance(0.1, 1.0),
        pictures=2,
        operations=50e9,
    )


def run(found: Contest, clock: Clock, judged: bool = True, rounds: int = 3, budget_s: float = 1000.0) -> Outcome:
    return race.run(Outcome("key", "a task", "fp32", judged), found, rounds, budget_s, clock)


def test_the_sides_are_warmed_up_and_take_turns() -> None:
    clock = Clock()
    outcome = run(contest(clock), clock)
    assert clock.order[:8] == ["ours"] * 4 + ["other"] * 4
    assert clock.order[8:] == ["other", "ours", "ours", "other", "other", "ours"]
    assert (outcome.seconds, outcome.rounds, outcome.pictures) == (1.0, 3, 2)
    (beside,) = outcome.beaten
    assert (beside.seconds, beside.ratio, beside.promise, beside.right) == (4.0, 4.0, 3.0, True)
    assert outcome.part_of(PEAKS) == 0.5


def test_medians_count() -> None:
    clock = Clock()
    found = contest(clock)
    slow_once = Contest(clock.work("ours", 1.0, 9, 9, 9, 9, 1, 7, 2), found.rivals, found.compare, found.tolerance, 2, None)
    outcome = run(slow_once, clock)
    assert outcome.seconds == 2.0
    assert outcome.part_of(PEAKS) is None


def test_quick_work_is_repeated_within_a_turn_and_slow_work_is_not_warmed_for_long() -> None:
    clock = Clock()
    outcome = run(contest(clock, ours=0.1, theirs=60.0), clock, rounds=1)
    assert clock.order == ["ours"] * 4 + ["other"] + ["other"] + ["ours"] * 3
    assert outcome.seconds == pytest.approx(0.1)


def test_no_turn_starts_when_the_time_is_over() -> None:
    clock = Clock()
    outcome = run(contest(clock), clock, rounds=50, budget_s=12.0)
    assert outcome.rounds == 3  # of five seconds each


@pytest.mark.parametrize(
    ("theirs", "answer", "judged", "met"),
    [
        (3.0, 1.0, True, True),
        (2.996, 1.0, True, True),  # ratios are rounded to two decimals
        (2.9, 1.0, True, False),
        (2.9, 1.0, False, True),
        (9.0, 2.0, True, False),
        (9.0, 2.0, False, False),  # results must be right on any processor
        (9.0, float("nan"), False, False),
    ],
)
def test_speed_is_judged_where_it_is_promised_and_answers_everywhere(theirs: float, answer: float, judged: bool, met: bool) -> None:
    clock = Clock()
    assert run(contest(clock, theirs=theirs, answer=answer), clock, judged).met == met


def test_answers_are_compared() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert rows.compare_logits(logits, logits) == Difference(0.0, 1.0)
    exchanged = rows.compare_logits(logits, torch.tensor([[0.0, 3.0], [0.0, 4.0]]))
    assert exchanged.error == pytest.approx(18**0.5 / 5)
    assert exchanged.same == 0.5
    assert rows.compare_classes([1, 2, 3, 4], [1, 2, 0, 4]) == Difference(None, 0.75)
    boxes = {"boxes": torch.tensor([[0.0, 0, 9, 9], [20, 20, 40, 40]]), "labels": torch.tensor([1, 2])}
    one = {"boxes": boxes["boxes"][:1] + 0.1, "labels": torch.tensor([1])}
    none = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    assert compare_boxes(boxes, one).same == pytest.approx(2 / 3)
    assert compare_boxes(boxes, {**boxes, "labels": torch.tensor([1, 3])}).same == 0.5
    assert [compare_boxes(none, none).same, compare_boxes(boxes, none).same] == [1.0, 0.0]
    face, other = (Answer(np.zeros((1, 4)) + edge, np.array([[1.0, 0.0]])) for edge in (0, 2))
    turned = Answer(np.zeros((1, 4)), np.array([[0.0, 1.0]]))
    assert compare_faces([face, face], [face, other]) == Difference(0.0, 0.5)
    assert compare_faces([face], [turned]).error == pytest.approx(2**0.5)


def outcome(**changes: Any) -> Outcome:
    clock = Clock()
    judged = changes.pop("judged", True)
    return run(contest(clock, **changes), clock, judged)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the measurement by a given outcome, and the peaks by fixed values."""

    def replaced(first: Outcome) -> None:
        monkeypatch.setattr(peers, "peaks", lambda: PEAKS)
        monkeypatch.setattr(peers, "cpu_has_bf16", lambda: first.judged)

        def measure(row: Row, setting: Setting, rounds: int, budget_s: float) -> Outcome:
            assert (torch.get_num_threads(), rounds, budget_s) == (2, 5, 120.0)
            return first

        monkeypatch.setattr(peers, "measure", measure)

    return replaced


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (outcome(), 0, ["met", "50 %", "1000 ms, 2.0/s", "4.00", "number of rounds: key 3", "bf16 not measured", "load average"]),
        (outcome(theirs=2.0), 1, ["not met"]),
        (outcome(theirs=2.0, judged=False), 0, ["not applicable", "this processor doesn't support bf16: these rows ran in fp32"]),
        (outcome(answer=2.0, judged=False), 1, ["different results", "error 1e+00"]),
        (Outcome("key", "a task", "int8", True, fault="it disagrees"), 1, ["failed", "a task, int8: it disagrees"]),
    ],
)
def test_what_is_promised_decides_the_exit_status(
    found: Outcome, status: int, words: list[str], small: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    small(found)
    flags = ["--rows", "faces", "--threads", "2"]
    assert peers.main(flags) == status
    printed = capsys.readouterr()
    assert [word for word in words if word not in printed.out] == []
    assert printed.err == f"peers: key measured in {found.precision}\n"
    assert torch.get_num_threads() == 1
    assert peers.main([*flags, "--json"]) == status
    content = json.loads(capsys.readouterr().out)
    (row,) = content["rows"]
    assert (row["key"], row["met"], row["judged"]) == ("key", status == 0, found.judged)
    assert (content["peaks"], content["threads"]) == (PEAKS, 2)


@pytest.mark.parametrize(("capabilities", "shown"), [({"amx_tile": True}, False), ({"amx_tile": False}, True), ({}, True)])
def test_targets_for_other_processors_are_noted(
    capabilities: dict[str, object],
    shown: bool,
    small: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small(outcome())
    monkeypatch.setattr(hardware, "cpu_capabilities", lambda: capabilities)
    peers.main(["--rows", "faces", "--threads", "2"])
    printed = capsys.readouterr().out
    assert ("a processor with AMX, which this one lacks" in printed) is shown
    assert ("over fp32: int8 2.0\n" in printed) is shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--rows facse", "unknown row 'facse'. Nearest: faces"),
        ("--rounds 0", "rounds is 0; expected a number above 0"),
        ("--threads 0", "threads is 0; expected"),
        ("--seconds 0", "seconds is 0.0; expected"),
        ("--rows faces --data nowhere", "nowhere/portraits is not a folder; .*'portraits' .*--data"),
    ],
)
def test_invalid_flags(words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(peers, "peaks", lambda: PEAKS)
    assert peers.main(words.split()) == 2
    assert re.search(message, capsys.readouterr().err)


def test_an_engine_that_is_not_installed_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ENGINES["onnxruntime"], "missing", lambda: "onnxruntime is not there: pip install it")
    assert peers.main([]) == 2
    assert capsys.readouterr().err == "peers: onnxruntime is not there: pip install it\n"


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    setting = Setting(tmp_path, 1, False, tmp_path / "scratch")
    with pytest.raises(DataError, match=r"photos contains no images"):
        setting.files("photos")
    with pytest.raises(InputError, match=r"portraits is not a folder; .*--data"):
        setting.files("portraits")


def test_a_row_that_the_zoo_refuses_is_a_row(tmp_path: Path) -> None:
    def refused(setting: Setting, precision: str) -> Contest:
        raise DisagreementError("its results differ")

    found = peers.measure(Row("key", "title", False, refused), Setting(tmp_path, 1, True, tmp_path / "scratch"), 1, 1.0)
    assert (found.precision, found.fault, found.met, found.beaten) == ("bf16", "its results differ", False, ())


def test_rows_are_in_the_tables_order_and_in_the_precision_that_there_is(tmp_path: Path) -> None:
    assert [row.key for row in peers.chosen(["folder", "classifier-1"])] == ["classifier-1", "folder"]
    with_bf16, without = Setting(tmp_path, 1, True, tmp_path / "scratch"), Setting(tmp_path, 1, False, tmp_path / "scratch")
    assert [row.precision(with_bf16) for row in ROWS.values()] == ["bf16", "bf16", "int8", "bf16", "int8", "bf16", "bf16"]
    assert {row.precision(without) for row in ROWS.values()} == {"fp32", "int8"}


def test_peaks_are_measured() -> None:
    found = peaks(64)
    assert found["fp32"] is not None
    assert found["fp32"] > 0
    assert found["int8"] is None or found["int8"] > 0


@pytest.mark.slow
def test_small_rows_answer_alike(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(6):
        picture = np.kron(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
        write_picture(tmp_path / "photos" / f"{number}.png", picture)
    setting = Setting(tmp_path, 1, False, tmp_path / "scratch", backbone="resnet18", size=64)
    for key, names in (
        ("classifier-16", ["timm, eager float32", "timm, channels last", "ONNX Runtime", "OpenVINO directly, fp32"]),
        ("folder", ["a torchvision script"]),
    ):
        found = peers.measure(ROWS[key], setting, 1, 60.0)
        assert found.fault is None
        assert [each.name for each in found.beaten] == names
        assert found.met, found
        assert found.operations is not None
        assert found.operations > 1e8
