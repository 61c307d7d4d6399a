"""The benchmarks of training beside other libraries: that both sides are the same computation, and what is said of wrong flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.benchmarks import from_scratch, training_step
from zoo.system.hardware import cpu_has_bf16

pytestmark = pytest.mark.usefixtures("one_thread")


def test_both_sides_of_a_training_step_have_the_same_losses(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--only ResNet-18 --rounds 1 --steps 3 --batch 4 --side 64 --precision fp32 --json"
    assert training_step.main(words.split()) == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert len(line["ours_losses"]) == 3
    assert line["ours_losses"][0] == pytest.approx(line["theirs_losses"][0], abs=1e-4)
    assert line["ours_losses"] == pytest.approx(line["theirs_losses"], abs=0.05)
    assert line["ours_losses"][2] < line["ours_losses"][0]
    assert line["ratio"] == pytest.approx(line["theirs_s"] / line["ours_s"])
    assert 0 < line["ours_quickest_s"] <= line["ours_s"]
    assert 0 < line["theirs_quickest_s"] <= line["theirs_s"]
    assert (line["products"] is not None) == cpu_has_bf16()
    assert line["products"] is None or line["products"] > 0


def test_a_line_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert training_step.main(["--only", "VGG"]) == 2
    assert capsys.readouterr().err == "training_step: --only is 'VGG', which no line's name holds\n"


def test_pictures_that_are_not_there_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert from_scratch.main(["--data", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no cifar10/train. Say with --data where it is" in capsys.readouterr().err
