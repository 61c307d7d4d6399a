"""The comparisons of training with other libraries: both sides compute the same, and errors for invalid flags."""

from __future__ import annotations

import json
import re
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


def test_an_unknown_row_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert training_step.main(["--only", "VGG"]) == 2
    assert capsys.readouterr().err == "training_step: --only is 'VGG'; expected a part of a row's name\n"


def test_missing_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert from_scratch.main(["--data", str(tmp_path)]) == 2
    assert re.search(rf"from_scratch: {tmp_path} contains no folder cifar10/train; .* --data", capsys.readouterr().err)
