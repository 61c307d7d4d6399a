"""The command line on small real datasets, with the scores that are expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def zoo_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command, which must succeed, and return the JSON object that it prints."""

    def run(*words: str) -> dict[str, Any]:
        status = main([*words, "--json"])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        content: dict[str, Any] = json.loads(captured.out)
        return content

    return run


def check_cifar(result: dict[str, Any], n: int, top1: float, top5: float) -> None:
    assert result["n"] == result["expected"] == n
    assert result["skipped"] == []
    assert result["scores"]["top1"] == pytest.approx(top1, abs=0.001)
    assert result["scores"]["top5"] == pytest.approx(top5, abs=0.001)
    assert list(result["per_class"]) == sorted(result["per_class"])
    assert "airplane" in result["per_class"]


def test_cifar_weights_score_what_they_do(zoo_json: Any, shared_data: Path) -> None:
    words = ("eval", "--backbone", "resnet20", "--weights", str(shared_data / "weights" / "resnet20-12fca82f.th"))
    check_cifar(zoo_json(*words, "--data", f"folder:{shared_data / 'cifar10'}?split=test"), 5000, 0.8102, 0.9840)


def test_weights_of_a_deeper_network_score_what_they_do(zoo_json: Any, shared_data: Path, cifar_part: Path) -> None:
    """The scores are those of a forward pass written with torch.nn.functional, on images read by Pillow."""
    words = ("eval", "--backbone", "resnet56", "--weights", str(shared_data / "weights" / "resnet56-4bfd9763.th"))
    check_cifar(zoo_json(*words, "--data", f"folder:{cifar_part}", "--replicates", "0"), 2000, 0.8315, 0.9920)


def test_blood_cells_are_found_after_a_short_training(zoo_json: Any, shared_data: Path, tmp_path: Path) -> None:
    """A shortened run; the README documents the full run and its score."""
    cells = f"voc:{shared_data / 'bccd'}"
    run = zoo_json(
        "train", "--task", "detection", "--backbone", "test_resnet", "--fpn-channels", "64", "--data", f"{cells}?split=trainval",
        "--skip-bad", "--out", str(tmp_path / "run"), "--epochs", "1", "--image-size", "160",
    )  # fmt: skip
    assert [fault["key"] for fault in run["skipped"]]
    result = zoo_json("eval", str(tmp_path / "run"), "--data", f"{cells}?split=test", "--skip-bad", "--replicates", "0")
    assert result["n"] == result["expected"] == 72
    assert result["scores"]["AP50"] > 0.4  # it is 0.64
    assert set(result["per_class"]) == {"Platelets", "RBC", "WBC"}


def test_unseen_people_are_told_apart_after_a_short_training(zoo_json: Any, shared_data: Path, tmp_path: Path) -> None:
    """A shortened run; the README documents the full run and its score."""
    people = f"identities:{shared_data / 'orl'}"
    zoo_json(
        "train", "--task", "face", "--backbone", "test_resnet", "--data", f"{people}?split=train",
        "--out", str(tmp_path / "run"), "--epochs", "16", "--image-size", "64",
    )  # fmt: skip
    result = zoo_json("eval", str(tmp_path / "run"), "--data", f"{people}?split=test", "--replicates", "0")
    assert result["n"] == result["expected"] == 160
    assert result["scores"]["auc"] > 0.85
    assert result["scores"]["accuracy"] > 0.75
    assert result["scores"]["rank1"] > 0.5


@pytest.mark.parametrize("loss", ["cosface", "triplet"])  # arcface is the default, trained above
def test_the_quick_recipe_of_the_other_face_losses_tells_unseen_people_apart(
    zoo_json: Any, shared_data: Path, tmp_path: Path, loss: str
) -> None:
    people = f"identities:{shared_data / 'orl'}"
    zoo_json(
        "train", "--task", "face", "--backbone", "test_resnet", "--data", f"{people}?split=train", "--loss", loss,
        "--out", str(tmp_path / "run"), "--recipe", "quick", "--image-size", "64",
    )  # fmt: skip
    result = zoo_json("eval", str(tmp_path / "run"), "--data", f"{people}?split=test", "--replicates", "0")
    assert result["scores"]["auc"] > 0.87
    assert result["scores"]["rank1"] > 0.5
