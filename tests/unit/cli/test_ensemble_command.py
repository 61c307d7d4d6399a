"""`zoo eval` with several models, votes and test-time augmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.pictures import COLOURS, write_class_folders
from zoo.cli.main import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with test images, validation images and three small models."""
    root = tmp_path_factory.mktemp("ensemble")
    write_class_folders(root / "data", per_class=4)
    write_class_folders(root / "val", per_class=3, suffix=".jpg")
    for seed in range(3):
        torch.manual_seed(seed)
        zoo.save(zoo.build("resnet20", classes=sorted(COLOURS), image_size=16), root / f"m{seed}")
    return root


def run(folder: Path, *words: str) -> list[str]:
    """Return the words of a command; those that start with @ become paths in the folder."""
    return [str(folder / word[1:]) if word.startswith("@") else word for word in ("eval", *words, "--data", "@data", "--quiet")]


def result(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(run(folder, *words, "--json", "--replicates", "20")) == 0, capsys.readouterr().err
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_several_folders_answer_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result(folder, capsys, "@m0", "@m1")
    assert set(found["fingerprints"]) == {"data", "model 1", "model 2"}
    assert (found["details"]["ensemble"]["vote"], found["n"]) == ("soft", 12)
    assert "top1" in found["intervals"]


def test_weights_are_fitted_on_val(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result(folder, capsys, "@m0", "@m1", "--vote", "weighted", "--val", str(folder / "val"))
    assert found["details"]["ensemble"]["val"]["n"] == 9
    assert sum(found["details"]["ensemble"]["weights"].values()) == pytest.approx(1)
    assert (
        main(
            [
                "eval",
                str(folder / "m0"),
                str(folder / "m1"),
                "--data",
                str(folder / "data"),
                "--vote",
                "weighted",
                "--val",
                str(folder / "data"),
            ]
        )
        == 0
    )
    captured = capsys.readouterr()
    assert "warning: 12 images of the validation data" in captured.err
    assert "top1" in captured.out


@pytest.mark.parametrize("flags", [["--tta", "flip,scales"], ["--tta", "flip", "--tta", "scales"]])
def test_augmentations_may_be_joined_or_repeated(folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = result(folder, capsys, "@m0", *flags)
    assert found["details"]["ensemble"]["tta"] == ["flip", "scales"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_answers_of_a_majority_are_saved_and_read_back(
    folder: Path, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    file = str(tmp_path / f"answers{suffix}")
    found = result(folder, capsys, "@m0", "@m1", "@m2", "--vote", "hard", "--save-predictions", file)
    again = result(folder, capsys, "--predictions", file)
    assert again["scores"] == found["scores"]
    assert found["scores"]["top5"] is None


def test_the_answers_of_a_mean_are_saved_and_read_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "answers.csv")
    found = result(folder, capsys, "@m0", "@m1", "--tta", "flip", "--save-predictions", file)
    assert result(folder, capsys, "--predictions", file)["scores"] == found["scores"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["@m0", "@m1", "--corruptions"], "they can't be combined with further models, --vote, --val or --tta"),
        (["@m0", "--attack", "fgsm", "--tta", "flip"], "they can't be combined with further models, --vote, --val or --tta"),
        (["--predictions", "a.csv", "--vote", "hard"], "--predictions can't be combined with --vote, --val or --tta"),
        (["@m0", "@m1", "--predictions", "a.csv"], "a model and --predictions can't be combined"),
        (["@m0", "@m1", "--vote", "weighted"], "pass --val (val=) with data other than the scored data"),
        (["@m0", "@m1", "--val", "@val"], "validation data (--val) is only used with the vote 'weighted'"),
        (["@m0", "--tta", "flip,turn"], "unknown test-time augmentation 'turn'"),
        (["@m0", "@nowhere"], "contains no saved model"),
        (["@m0", "@m1", "--backbone", "resnet20"], "and --backbone resnet20 can't be combined"),
    ],
)
def test_mistakes_are_named(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run(folder, *words)) == 2
    assert said in " ".join(capsys.readouterr().err.split())
