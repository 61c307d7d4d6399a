"""Corruptions for detection and faces: boxes and pairs stay valid on synthetic and real data, from Python and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import zoo
from tests.pictures import picture
from zoo.cli.main import main
from zoo.data.dataset import Dataset, Record
from zoo.evaluation.robustness.corruptions import corrupt, corrupted
from zoo.evaluation.robustness.kinds import CORRUPTIONS
from zoo.evaluation.robustness.sweep import evaluate_corruptions
from zoo.task.contract import get_task
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

pytestmark = pytest.mark.usefixtures("one_thread")


def opened(task: str, data: str) -> Dataset:
    return get_task(task).open(data)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    classes = opened("detection", "demo:scenes?limit=1").classes
    zoo.save(zoo.build("resnet18", task="detection", classes=list(classes), image_size=128, fpn_channels=16), folder)
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("embedder")
    zoo.save(zoo.build("resnet20", task="face", image_size=32, embedding_size=16), folder)
    return folder


def displacement(clean: Any, worse: Any, box: Any) -> float:
    """Return by how many pixels the content of a box has moved, by phase correlation of blurred edges."""
    left, top, right, bottom = (round(float(side)) for side in box)
    edges = [np.hypot(*np.gradient(ndimage.gaussian_filter(image.astype(np.float64).mean(2), 2))) for image in (clean, worse)]
    first, second = (edge[top:bottom, left:right] for edge in edges)
    window = np.outer(np.hanning(first.shape[0]), np.hanning(first.shape[1]))
    spectra = [np.fft.fft2((part - part.mean()) * window) for part in (first, second)]
    peak = np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    y, x = np.unravel_index(peak.argmax(), peak.shape)
    return float(np.hypot(min(y, peak.shape[0] - y), min(x, peak.shape[1] - x)))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["voc:{}/bccd?split=test&limit={}", "coco:{}/coco-mini?limit={}"])
@pytest.mark.parametrize("name", ["motion_blur", "glass_blur", "elastic_transform", "zoom_blur", "pixelate", "jpeg_compression"])
def test_things_stay_in_their_boxes(shared_data: Path, source: str, name: str) -> None:
    """Covers the corruptions that move pixels: the content of most boxes must stay in place, at a severity that doesn't destroy it."""
    limit = 8 if name == "zoom_blur" or source.startswith("coco") else 2  # most cells are large enough, but few are near the centre
    data = opened("detection", source.format(shared_data, limit))
    worse = corrupted(data, name, 2)
    moved, sides = [], []
    for clean, after in zip(data, worse, strict=True):
        assert after.target is clean.target
        centre = np.array(clean.image.shape[1::-1]) / 2
        for box in clean.target["boxes"]:
            size = box[2:] - box[:2]
            # zooming moves content far from the centre outwards, on average by half of the largest zoom
            near = np.abs((box[:2] + box[2:]) / 2 - centre).max() < 0.3 * centre.min()
            if size.min() >= 48 and (name != "zoom_blur" or near):
                moved.append(displacement(clean.image, after.image, box))
                sides.append(float(size.min()))
    assert len(moved) >= 5
    assert np.median(np.array(moved) / np.array(sides)) < 0.05


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_boxes_and_pairs_are_carried_along_unchanged(name: str) -> None:
    scenes = opened("detection", "demo:scenes?limit=2")
    for clean, after in zip(scenes.records, corrupted(scenes, name, 3).records, strict=True):
        assert after.target is clean.target
        assert np.array_equal(after.load().image, corrupt(clean.load().image, name, 3, key=clean.key))
    records = tuple(Record(str(number), picture((50, 90, 20), number), None) for number in range(4))
    faces = PairedDataset("d", records, pairs=(Pair("0", "1", True, 0), Pair("2", "3", False, 1)))
    worse = corrupted(faces, name, 3)
    assert isinstance(worse, PairedDataset)
    assert worse.pairs == faces.pairs


def test_a_detector_that_knows_the_boxes_loses_nothing(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ground truth as answers, all boxes are correct, whatever happens to the pixels."""
    data = opened("detection", "demo:scenes?limit=6")
    model, task = zoo.load(detector), get_task("detection")
    targets = iter(list(data.records) * 3)

    def split(self: Any, answers: Any) -> list[Any]:
        truth = [next(targets).target for _ in answers]
        return [{"boxes": one["boxes"], "labels": one["labels"], "scores": np.ones(len(one["labels"]), np.float32)} for one in truth]

    monkeypatch.setattr(type(task.answers), "split", split)
    found = evaluate_corruptions(model, data, names=["fog", "elastic_transform"], severities=[5], workers=0, replicates=20)
    assert (found["score"], found["clean"], found["mean"], found["relative_drop"]) == ("AP", 1.0, 1.0, 0.0)
    assert found["intervals"].get("relative_drop", [0.0, 0.0]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("task", "model", "data"), [("detection", "detector", "demo:scenes?limit=4"), ("face", "embedder", "demo:faces?limit=40")]
)
def test_scores_depend_on_neither_batches_nor_workers(task: str, model: str, data: str, request: pytest.FixtureRequest) -> None:
    loaded = zoo.load(request.getfixturevalue(model))
    first, second = (
        evaluate_corruptions(
            loaded, data, names=["gaussian_noise", "snow"], severities=[1], seed=3, replicates=20, batch_size=size, workers=workers
        )
        for size, workers in ((4, 0), (3, 2))
    )
    for name in ("clean", "mean"):
        assert first[name] == pytest.approx(second[name], abs=1e-6)
    for name, runs in first["corruptions"].items():
        assert runs == pytest.approx(second["corruptions"][name], abs=1e-6)


def test_faces_on_the_command_line(embedder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(embedder), "--data", "demo:faces?limit=60", "--quiet", "--corruptions", "--replicates", "20"]
    assert main([*words, "--corruption-names", "fog, jpeg_compression", "--severities", "1,5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == "accuracy"
    assert {name: list(runs) for name, runs in found["corruptions"].items()} == {"fog": ["1", "5"], "jpeg_compression": ["1", "5"]}
    assert found["mean"] == pytest.approx(np.mean([value for runs in found["corruptions"].values() for value in runs.values()]))
    assert found["relative_drop"] == pytest.approx((found["clean"] - found["mean"]) / found["clean"])
    for name in ("clean", "mean", "relative_drop"):
        low, high = found["intervals"][name]
        assert low <= found[name] <= high
    assert "ImageNet-C" in found["note"]
    assert "not with published scores" in found["note"]


def test_detection_on_the_command_line(detector: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(detector), "--data", "demo:scenes?limit=3", "--quiet", "--corruptions", "--replicates", "10"]
    assert main([*words, "--corruption-names", "contrast", "--severities", "3"]) == 0
    shown = capsys.readouterr().out
    assert "contrast" in shown
    assert "relative drop" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corruptions", "--corruption-names", "fogg"], "Nearest: fog"),
        (["--corruptions", "--severities", "1,high"], "--severities is '1,high'; expected numbers from 1 to 5"),
        (["--corruptions", "--severities", "7"], "severity is 7; expected 1, 2, 3, 4 or 5"),
        (["--severities", "3"], "--severities requires --corruptions, which is not set"),
        (["--corruption-names", "fog"], "--corruption-names requires --corruptions, which is not set"),
        (["--eps", "0.1"], "--eps requires --attack, which is not set"),
        (["--pairs", "10"], "--pairs requires --attack, which is not set"),
        (["--steps", "3"], "--steps requires --attack pgd, which is not set"),
        (["--attack", "autoattack", "--steps", "3"], "--steps requires --attack pgd, which is not set"),
        (["--attack", "fgsm"], "unknown attack of the task face: 'fgsm'. Known: pgd"),
        (["--attack", "pgd", "--eps", "8"], "eps is 8.0; expected a fraction of the value range, from 0 to 1"),
        (["--attack", "pgd", "--steps", "0"], "steps is 0; expected 1 or more"),
    ],
)
def test_mistakes_on_the_command_line(embedder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(embedder), "--data", "demo:faces?limit=20", "--quiet", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_detection_has_no_attacks(detector: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(detector), "--data", "demo:scenes?limit=2", "--quiet", "--attack", "pgd"]) == 2
    assert "supported are classification (fgsm, pgd, autoattack) and face (pgd)" in " ".join(capsys.readouterr().err.split())


def test_faces_are_attacked_on_the_command_line(embedder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("captum")
    words = ["eval", str(embedder), "--data", "demo:faces?limit=60", "--quiet", "--attack", "pgd"]
    words += ["--eps", "2/255", "--steps", "2", "--pairs", "6", "--replicates", "20"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["attack"], found["steps"], found["eps"]) == ("pgd", 2, pytest.approx(2 / 255))
    assert found["robust"]["details"]["pairs"] == {"genuine": 6, "impostor": 6, "missing": 0}
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "pgd, perturbations of up to 2/255" in shown
    assert "6 genuine and 6 impostor pairs" in shown
