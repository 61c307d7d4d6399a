"""Printed results can be copied and searched: names of datasets and images stay on one line."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.cli.tables import print_attacked, print_scores
from zoo.errors import Fault
from zoo.task.metric import Scores

_DATA = "voc:" + "a-folder-with-a-long-name/" * 8 + "cells?split=test"
_PICTURE = "pictures/" * 15 + "one.jpg"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def test_long_names_are_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(Scores({"AP": 0.5}, n=1, expected=2, skipped=(Fault(_PICTURE, "cut short"),), data=_DATA))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == _DATA
    assert lines[-1] == f"skipped: {_PICTURE}: cut short"
    assert any("AP" in line and "0.5000" in line for line in lines)


def test_what_was_attacked_stands_above_and_what_was_not_below(capsys: pytest.CaptureFixture[str]) -> None:
    kind: dict[str, Any] = {"scores": {"top1": 0.5}, "intervals": {}, "details": {}, "n": 1, "expected": 2}
    skipped = [{"key": _PICTURE, "reason": "cut short"}]
    print_attacked({"attack": "pgd", "eps": 8 / 255, "score": "top1", "clean": {**kind, "skipped": skipped}, "robust": kind})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pgd, perturbations of up to 8/255"
    assert lines[-1] == f"skipped: {_PICTURE}: cut short"
