"""The benchmark of the feature cache on a few images; its speed-up is not tested."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from zoo.benchmarks.frozen_trunk import main, pictures

pytestmark = pytest.mark.usefixtures("one_thread")


def test_pictures_come_evenly_from_all_classes(shared_data: Path) -> None:
    ten = pictures(shared_data / "cifar10" / "train", 40, 10)
    assert [sum(record.target == label for record in ten.records) for label in range(10)] == [4] * 10
    two = pictures(shared_data / "cifar10" / "train", 40, 2)
    assert two.classes == ("animal", "vehicle")
    assert [record.key for record in two.records] == [record.key for record in ten.records]
    vehicles = {record.key.split("/")[0] for record in two.records if record.target == 1}
    assert vehicles == {"airplane", "automobile", "ship", "truck"}


@pytest.mark.slow
@pytest.mark.parametrize("classes", ["2", "10"])
def test_both_sides_reach_the_same_score(shared_data: Path, classes: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.environ["ZOO_CACHE"]
    words = ["--epochs", "2", "--samples", "40", "--classes", classes, "--data", str(shared_data)]
    assert main([*words, "--json"]) in (0, 1)  # the speed-up is small with so few images
    result = json.loads(capsys.readouterr().out)
    assert [side["name"] for side in result["sides"]] == ["features computed once", "features found", "no cache"]
    assert result["apart"] == 0
    assert result["ratio"] == result["sides"][2]["seconds"] / result["sides"][0]["seconds"]
    assert result["met"] == (result["ratio"] >= 20)
    assert os.environ["ZOO_CACHE"] == before


def test_without_data_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("frozen_trunk: ")
    assert "does not exist" in message
