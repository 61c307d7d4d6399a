"""Tests of every command on multi-label data, and of the errors for data and models that don't fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import COLOURS, write_picture
from zoo.cli.main import main
from zoo.curation.split import split
from zoo.data.dataset import Dataset, Record
from zoo.errors import InputError
from zoo.task.contract import get_task
from zoo.tasks.classification.multilabel.head import masked_cross_entropy

MULTI = get_task("classification", {"multi_label": True})
CLASSES = list(COLOURS)


def halves(present: list[bool]) -> np.ndarray[Any, Any]:
    """Return an image with a stripe in the colour of each class that is present."""
    image = np.zeros((24, 24, 3), np.uint8)
    for place, colour in enumerate(COLOURS.values()):
        image[8 * place : 8 * place + 8] = colour if present[place] else (90, 90, 90)
    return image


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of 48 images with all sets of three labels, some of them unknown."""
    root = tmp_path_factory.mktemp("stripes")
    rows = [["path", *CLASSES, "split"]]
    for number in range(48):
        present = [bool(number & 1), bool(number & 2), bool(number & 4)]
        write_picture(root / f"{number}.png", halves(present))
        cells = ["" if (number + place) % 7 == 0 else str(int(each)) for place, each in enumerate(present)]
        rows.append([f"{number}.png", *cells, "train" if number < 32 else "test"])
    (root / "labels.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    return f"csv:{root}/labels.csv"


@pytest.fixture(scope="module")
def run(stripes: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--backbone", "resnet20", "--multi-label", "--data", f"{stripes}?split=train", "--val", f"{stripes}?split=test"]
    words += ["--out", str(folder), "--epochs", "6", "--batch-size", "8", "--lr", "0.003", "--flip", "0", "--crop-scale", "1"]
    assert main([*words, "--workers", "0", "--quiet", "--label-smoothing", "0.05", "--mixup", "0.1", "--balance", "classes"]) == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json", "--quiet"]) == status
    return json.loads(capsys.readouterr().out)


def test_training_learns_the_labels(run: Path, stripes: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved, report = tmp_path / "predictions.csv", tmp_path / "report.html"
    found = printed(capsys, "eval", str(run), "--data", f"{stripes}?split=test", "--save-predictions", str(saved), "--report", str(report))
    assert found["scores"]["mAP"] > 0.9
    assert found["intervals"].keys() == found["scores"].keys()
    assert found["details"]["labels"] == {"known": 41, "unknown": 7}
    assert set(found["per_class"]) == set(CLASSES)
    assert "Precision and recall" in report.read_text()
    again = printed(capsys, "eval", "--multi-label", "--predictions", str(saved), "--data", f"{stripes}?split=test")
    assert again["scores"] == found["scores"]
    assert again["intervals"] == found["intervals"]
    words = ["compare", str(saved), str(run), "--task", "classification", "--data", f"{stripes}?split=test"]
    assert printed(capsys, *words, "--multi-label")["n"] == 16
    capsys.readouterr()
    assert main([*words, "--quiet"]) == 2
    assert "Prediction files of multi-label models need --multi-label" in capsys.readouterr().err
    assert "Sample predictions" in (run / "report.html").read_text()


def test_predict_info_export(run: Path, stripes: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = Path(stripes.removeprefix("csv:")).parent
    (answer,) = printed(capsys, "predict", str(run), str(root / "3.png"), "--out", str(tmp_path / "drawn"))["predictions"]
    assert len(answer["probabilities"]) == len(answer["names"]) == len(answer["labels"])
    info = printed_info(capsys, run)
    assert info["options"]["multi_label"] is True
    assert info["metadata"]["thresholds"] is None
    made = printed(capsys, "export", str(run), "--format", "torch", "--out", str(tmp_path / "exported"))
    assert made["agreement"]["agreement"] == 1
    exported = zoo.load(tmp_path / "exported")
    score = zoo.evaluate(exported, f"{stripes}?split=test", replicates=0)["mAP"]
    assert score == pytest.approx(zoo.evaluate(zoo.load(run), f"{stripes}?split=test", replicates=0)["mAP"], abs=0.01)


def printed_info(capsys: pytest.CaptureFixture[str], run: Path) -> Any:
    capsys.readouterr()
    assert main(["info", str(run), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_check_convert_split_show(stripes: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = printed(capsys, "data", "check", stripes, "--multi-label", status=1)
    assert found["classes"] == {"blue": 21, "green": 21, "red": 21}
    assert {finding["kind"] for finding in found["findings"]} == {"assumed", "blank", "leak"}
    printed(capsys, "data", "convert", stripes, f"csv:{tmp_path}/copy", "--multi-label")
    header, *rows = Path(stripes.removeprefix("csv:")).read_text().splitlines()
    first, *copied = (tmp_path / "copy" / "labels.csv").read_text().splitlines()
    assert (first, sorted(copied)) == (header, sorted(rows))
    made = printed(capsys, "data", "split", f"{stripes}?split=train", f"{tmp_path}/parts", "--multi-label", "--parts", "train=24,val=8")
    assert made["pictures"] == {"train": 24, "val": 8}
    printed(capsys, "data", "show", f"{stripes}?split=test", "--multi-label", "--out", str(tmp_path / "show.html"), "--n", "2")
    assert "red" in (tmp_path / "show.html").read_text()


def test_detection_data_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "voc" / "a.png", halves([True, True, True]))
    entries = "<object><name>{}</name><difficult>{}</difficult></object>"
    text = f"<annotation><filename>a.png</filename>{entries.format('red', 0)}{entries.format('blue', 1)}</annotation>"
    (tmp_path / "voc" / "a.xml").write_text(text)
    printed(capsys, "data", "convert", f"voc:{tmp_path}/voc?as=labels", f"csv:{tmp_path}/out", "--multi-label")
    assert (tmp_path / "out" / "labels.csv").read_text() == "path,blue,red\na.png,,1\n"


def test_parts_have_the_frequencies_of_the_whole_and_rare_labels_are_in_every_part(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frequencies = np.array([0.6, 0.3, 0.1, 0.02])
    labels = (random.random((300, 4)) < frequencies).astype(np.float32)
    labels[:, 1] = np.maximum(labels[:, 1], labels[:, 2])  # correlated
    labels[:9, 3] = 1
    lines = ["path,a,b,c,d"]
    for number, row in enumerate(labels):
        write_picture(tmp_path / "data" / f"{number}.png", np.full((2, 2, 3), number % 250, np.uint8))
        lines.append(f"{number}.png," + ",".join(str(int(value)) for value in row))
    (tmp_path / "data" / "labels.csv").write_text("\n".join(lines))
    parts = {"train": 0.7, "val": 0.2, "test": 0.1}
    made = split(f"csv:{tmp_path}/data/labels.csv", f"csv:{tmp_path}/out", MULTI, parts)
    assert made.warnings == ()
    for name, share in parts.items():
        assert made.pictures[name] == pytest.approx(300 * share, abs=2)
        for place, letter in enumerate("abcd"):
            total = labels[:, place].sum()
            assert made.classes[letter][name] == pytest.approx(total * share, abs=1.5)
            assert made.classes[letter][name] >= 1
    data = zoo.open_data(made.data["val"], "classification", multi_label=True)
    assert len(data) == made.pictures["val"]


def test_real_detection_data_as_labels(shared_data: Path) -> None:
    """The cells of BCCD, counted from the boxes, and the crowds of coco-mini."""
    data = zoo.open_data(f"voc:{shared_data / 'bccd'}?split=test&as=labels", "classification", multi_label=True)
    boxes = zoo.open_data(f"voc:{shared_data / 'bccd'}?split=test", "detection")
    assert (data.keys, data.classes) == (boxes.keys, boxes.classes)
    for labels, record in zip(data.records, boxes.records, strict=True):
        assert MULTI.data.labels(labels.target) == sorted(set(record.target["labels"].tolist()))
    data = zoo.open_data(f"coco:{shared_data / 'coco-mini'}", "classification", multi_label=True)
    boxes = zoo.open_data(f"coco:{shared_data / 'coco-mini'}", "detection")
    assert len(data.classes) == 80
    for labels, record in zip(data.records, boxes.records, strict=True):
        assert MULTI.data.labels(labels.target) == sorted(set(record.target["labels"].tolist()))


def test_removing_a_third_of_the_labels_of_real_data_leaves_the_expected_loss(shared_data: Path) -> None:
    data = zoo.open_data(f"coco:{shared_data / 'coco-mini'}", "classification", multi_label=True)
    targets = MULTI.data.collate_targets([record.target for record in data.records]).double()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(targets.shape, generator=generator).double() - 2
    whole, losses = float(masked_cross_entropy(logits, targets)), []
    for _ in range(300):
        kept = torch.rand(targets.shape, generator=generator) > 1 / 3
        losses.append(float(masked_cross_entropy(logits, targets.where(kept, torch.nan))))
    error = np.std(losses, ddof=1) / np.sqrt(len(losses))
    assert abs(np.mean(losses) - whole) < 4 * error < 0.01 * whole


def samples(*targets: Any) -> Dataset:
    records = tuple(Record(str(place), halves([True, False, False]), target) for place, target in enumerate(targets))
    return Dataset("here", records, tuple(CLASSES))


def test_data_and_models_that_do_not_fit(tmp_path: Path) -> None:
    one, several = (zoo.build("resnet20", classes=CLASSES, multi_label=multi) for multi in (False, True))
    with pytest.raises(InputError, match="the target of 0 has several numbers, but the model predicts one class per image; build it with"):
        zoo.train(one, samples([1, 0, 0], [0, 1, 1]), out=tmp_path / "a")
    with pytest.raises(InputError, match="the target of 0 has several numbers"):
        zoo.evaluate(one, samples([1, 0, 0]))
    with pytest.raises(InputError, match="1: the target of class 2 is 5; expected 1, 0 or NaN"):
        zoo.train(several, samples([1, 0, 0], [0, 1, 5]), out=tmp_path / "b")
    assert zoo.evaluate(several, samples(0, 2), replicates=0).details["labels"] == {"known": 6, "unknown": 0}
    assert not (tmp_path / "a" / "metrics.jsonl").exists()


def test_too_few_samples_of_a_label(tmp_path: Path) -> None:
    model = zoo.build("resnet20", classes=CLASSES, multi_label=True)
    with pytest.raises(InputError, match=r"has classes with fewer than 2 samples: green \(1\)"):
        zoo.train(model, samples([1, 0, 1], [1, None, 1], [0, 1, 0]), out=tmp_path / "c")


def test_weights_of_the_other_kind_leave_the_head_fresh(tmp_path: Path) -> None:
    folder = zoo.save(zoo.build("resnet20", classes=CLASSES), tmp_path / "one")
    said: list[str] = []
    moved = zoo.build("resnet20", classes=CLASSES, weights=folder, multi_label=True, say=said.append)
    assert moved.config.options["multi_label"]
    assert "the classification head is newly initialised" in said[0]
    with pytest.raises(InputError, match=r"multi_label is True, but the weights of .* were trained with False"):
        zoo.load(folder, multi_label=True)


def test_attacks_are_not_supported() -> None:
    from zoo.evaluation.robustness.attacked import attack_evaluate

    with pytest.raises(InputError, match="attack: the task classification with these options doesn't support attacks"):
        attack_evaluate(zoo.build("resnet20", classes=CLASSES, multi_label=True), samples(0, 1))


def test_a_frozen_trunk_trains_on_cached_features(stripes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    recipe = zoo.recipe("classification", epochs=2, batch_size=8, workers=0, freeze="trunk", label_smoothing=0.1)
    model = zoo.build("resnet20", classes=CLASSES, multi_label=True)
    model.metadata["thresholds"] = dict.fromkeys(CLASSES, 1.0)  # of the weights before training
    run = zoo.train(model, f"{stripes}?split=train", f"{stripes}?split=test", recipe, tmp_path / "run")
    assert run.model.metadata["thresholds"] is None
    assert run.scores is not None
    assert run.scores["mAP"] is not None
    assert np.isfinite(run.history[-1]["loss"])


@pytest.mark.parametrize("classes", [("x", "y"), ("y", "x", "z"), ()])
def test_a_class_index_out_of_range_is_named_before_the_first_step(tmp_path: Path, classes: tuple[str, ...]) -> None:
    images = [np.zeros((32, 32, 3), np.uint8)] * 3
    data = Dataset(
        "here",
        tuple(Record(f"k{place}", image, target) for place, (image, target) in enumerate(zip(images, (0, 5, -1), strict=True))),
        classes,
    )
    with pytest.raises(
        InputError, match=r"data 'here': 2 targets without a class.*\n  k1: its class is 5; expected a whole number from 0 to"
    ):
        zoo.train(zoo.build("resnet20", classes=["x", "y", "z"]), data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
