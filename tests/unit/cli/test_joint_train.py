"""`zoo train` for models with several heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pictures import write_class_folders
from tests.unit.tasks.detection.attributes.squares import ATTRIBUTES, write_squares
from zoo.cli.heads import head_settings, named_values
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.models.archive import load

pytestmark = pytest.mark.usefixtures("one_thread")

RUN = ["--epochs", "1", "--workers", "0", "--precision", "fp32", "--quiet"]
HEADS = ["--backbone", "test_resnet", "--task", "one=classification", "--task", "two=classification", "--set", "image_size=32"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("data"))


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err


def test_two_heads_from_words_alone(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["train", *HEADS, "--data", f"one,two=folder:{pictures}", "--val", f"two=folder:{pictures}", "--out", out, *RUN]
    words += ["--set", "two.label_smoothing=0.1", "--set", "batch_size=6", "--set", "one.dropout=0.25", "--mix", "equal"]
    found = printed(capsys, *words, "--loss-weights", "two=0.5")
    assert [*found["scores"]] == ["two"]
    assert 0 <= found["scores"]["two"]["top1"] <= 1
    model = load(out)
    assert model.classes == {"one": ("blue", "green", "red"), "two": ("blue", "green", "red")}
    assert {name: head.options["dropout"] for name, head in model.config.heads.items()} == {"one": 0.25, "two": 0.0}
    assert len(model.passes()) == 1
    recipe = (out / "recipe.toml").read_text()
    assert "label_smoothing = 0.1" in recipe
    assert recipe.count("batch_size = 6") == 2
    again = [*words, "--recipe", out / "recipe.toml", "--loss-weights", "two=0.5", "--resume"]
    assert printed(capsys, *again)["scores"] == found["scores"]
    runs = printed(capsys, "runs", tmp_path)["runs"]
    assert runs[0]["task"] == "one=classification, two=classification"
    assert (runs[0]["score"], runs[0]["best"]) == ("two/top1", 1)
    assert runs[0]["recipe"]["two.label_smoothing"] == 0.1
    assert main(["runs", str(tmp_path)]) == 0
    assert f"two/top1 {found['scores']['two']['top1']:.4f} (epoch 1)" in capsys.readouterr().out


def test_a_head_is_added_to_a_saved_model(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["train", "--backbone", "test_resnet", "--image-size", "32", "--data", f"folder:{pictures}", "--out", tmp_path / "first", *RUN]
    printed(capsys, *first)
    before = load(tmp_path / "first")
    more = ["train", "--weights", tmp_path / "first", "--task", "colour=classification", "--data", f"colour=folder:{pictures}"]
    assert "no data for classification, whose predictions would change" in refused(capsys, *more, *RUN)
    printed(capsys, *more, "--freeze", "trunk", "--out", tmp_path / "second", *RUN)
    model = load(tmp_path / "second")
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        found = model(images)
        assert torch.equal(found["classification"], before(images))
    assert [*found] == ["classification", "colour"]
    third = [
        "train",
        "--weights",
        tmp_path / "second",
        "--data",
        f"classification=folder:{pictures}",
        "--data",
        f"colour=folder:{pictures}",
    ]
    printed(capsys, *third, "--beside-alone", "--val", f"classification,colour=folder:{pictures}", "--out", tmp_path / "third", *RUN)
    again = refused(capsys, *more, "--weights", tmp_path / "second", "--out", tmp_path / "fourth", *RUN)
    assert f"--task colour=classification: the model {tmp_path / 'second'} already has this head; omit it" in again


def test_one_head_with_a_name(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--backbone", "test_resnet", "--task", "colour=classification", "--set", "image_size=32", "--set", "batch_size=4"]
    found = printed(capsys, *words, "--data", f"folder:{pictures}", "--val", f"colour=folder:{pictures}", "--out", tmp_path / "run", *RUN)
    assert 0 <= found["scores"]["top1"] <= 1
    assert [*load(tmp_path / "run").config.heads] == ["colour"]
    assert "batch_size = 4" in (tmp_path / "run" / "recipe.toml").read_text()


def test_the_comparison_with_heads_alone_is_printed(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = f"one,two=folder:{pictures}"
    assert main(["train", *HEADS, "--data", both, "--val", both, "--beside-alone", "--out", str(tmp_path / "run"), *RUN]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("one: top1 ")
    assert lines[2].startswith("two: top1 ")
    assert all("] jointly, " in line and line.endswith("] alone") for line in lines[1:3])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "folder:x"], r"--data is 'folder:x'; expected NAME=DATA, where NAME is a head of the model (one, two)"),
        (["--data", "one=folder:x", "--data", "one=folder:y"], "--data has several values for 'one'; expected one"),
        ([], "no training data; pass --data NAME=DATA for the heads one, two"),
        (["--data", "three=folder:x"], "unknown head in data: 'three'"),
        (["--data", "one=folder:x", "--set", "three.flip=0"], "unknown head in --set: 'three'"),
        (["--data", "one=folder:x", "--set", "flipp=0"], "unknown option or setting in --set: 'flipp'. Nearest: flip"),
        (["--data", "one=folder:x", "--set", "one.lr=0"], "It is a flag of the whole run: --lr"),
        (["--data", "one=folder:x", "--flip", "0"], "--flip is not a flag of models with several heads; pass --set flip=VALUE for"),
        (["--data", "one=folder:x", "--image-size=64"], "or --set one.image_size=VALUE for one head"),
        (["--data", "one=folder:x", "--set", "flip"], "--set is 'flip'; expected HEAD.NAME=VALUE, such as parts.flip=0"),
        (["--data", "one=folder:x", "--set", "one.flip=x"], "--set, head one: flip is 'x'; expected a number"),
        (["--data", "one=folder:x", "--mix", "even"], "recipe: mix is 'even'; expected 'proportional', 'equal', or 'temperature=T'"),
        (["--data", "one=folder:x", "--mix", "temperature=0"], "recipe: mix is 'temperature=0'; expected"),
        (["--data", "one=folder:x", "--loss-weights", "three=1"], "unknown head in loss_weights: 'three'"),
        (["--data", "one=folder:x", "--loss-weights", "one=0"], "recipe: loss_weights is 'one=0'; expected 'uncertainty' or a"),
        (["--data", "one=folder:x", "--adapters", "three"], "unknown new head in --adapters: 'three'"),
        (["--task", "detection"], "--task is 'detection'; expected NAME=TASK, as for the other heads (one, two)"),
        (["--task", "one=detection"], "two heads have the name 'one'; give them different names with --task NAME=TASK"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert message in refused(capsys, "train", *HEADS, *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_attributes_are_set_as_their_flag_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"coco:{write_squares(tmp_path / 'data')}"
    words = ["train", "--backbone", "test_resnet", "--task", "p=detection", "--task", "one=classification", "--data", f"p={data}"]
    words += ["--data", "one=demo:digits?limit=40", "--set", "p.image_size=64"]
    found = ["--set", "p.attributes=colour=red,green,blue;marked=false,true", "--out", tmp_path / "run", *RUN]
    printed(capsys, *words, *found)
    assert load(tmp_path / "run").config.heads["p"].options["attributes"] == ATTRIBUTES
    said = refused(capsys, *words, "--set", "p.attributes=colour", "--out", tmp_path / "other", *RUN)
    assert "--set attributes: 'colour' isn't a list of unique names with their values; expected NAME=VALUE,VALUE;" in said
    said = refused(capsys, *words, "--set", "p.attributes=colour=red,green", "--out", tmp_path / "other", *RUN)
    assert "the attribute 'colour' is 'blue'; the model declares red, green" in said
    assert not (tmp_path / "other").exists()


def test_passes_that_can_not_be_shared(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", f"one=folder:{pictures}", "--data", f"two=folder:{pictures}", "--set", "two.image_size=64", "--passes", "1"]
    assert "passes is 1, but the heads need 2 passes through the backbone: size_hw is" in refused(capsys, "train", *HEADS, *words)


def test_options_of_a_saved_model_are_fixed(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = f"one,two=folder:{pictures}"
    assert main(["train", *HEADS, "--data", both, "--out", str(tmp_path / "run"), *RUN]) == 0
    said = refused(capsys, "train", "--weights", tmp_path / "run", "--data", both, "--set", "one.dropout=0.5", "--out", tmp_path / "b")
    assert "--set one.dropout: the options of a saved model's heads are fixed; omit it" in said


def test_names_stand_before_the_first_colon() -> None:
    assert named_values("--data", ["a=coco:x?c=d", "b,c=/f=g"], ["a", "b", "c"]) == {"a": "coco:x?c=d", "b,c": "/f=g"}
    assert named_values("--data", ["coco:x?c=d"], ["a"]) == {"a": "coco:x?c=d"}
    with pytest.raises(InputError, match="expected NAME=DATA"):
        named_values("--data", ["coco:x?c=d"], ["a", "b"])


def test_values_of_settings() -> None:
    found = head_settings(["a.flip=0", "flip=0.5", "b.loss=arcface", 'b.name="x y"', "a.on=true"])
    assert found == [("a", "flip", 0), (None, "flip", 0.5), ("b", "loss", "arcface"), ("b", "name", "x y"), ("a", "on", True)]
