"""Operating points of detectors: decisions by hand, and every verb with thresholds, for a detector whose own answers are the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import picture, write_picture
from tests.unit.tasks.detection.coco_form import columns_of_coco
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.evaluation.operating import ClassPoint, Target, choose
from zoo.models.model import Model
from zoo.prediction.predict import _HINTED
from zoo.report.charts import chart
from zoo.system.progress import Progress
from zoo.tasks.detection.metric.evaluators import evaluate
from zoo.tasks.detection.metric.metric import CocoMetric
from zoo.tasks.detection.metric.operating import decisions_of
from zoo.tasks.detection.options import DetectionScoring

SMALL: dict[str, Any] = {"image_size": 48, "fpn_channels": 16, "representation_size": 16, "proposals": 40, "max_detections": 12}
CLASSES = ("cat", "dog", "owl")


def answer(boxes: list[list[float]], scores: list[float], labels: list[int]) -> dict[str, Any]:
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "scores": np.array(scores, np.float32), "labels": np.array(labels)}


def target(boxes: list[list[float]], labels: list[int], **more: list[Any]) -> dict[str, Any]:
    return {"boxes": np.array(boxes, np.float64).reshape(-1, 4), "labels": np.array(labels), **{k: np.array(v) for k, v in more.items()}}


def hand() -> CocoMetric:
    """Two images. Cats: right at 0.9, duplicate at 0.8, wrong place at 0.7, right at 0.6, crowd at 0.5, one missed. Dogs: one missed."""
    metric = CocoMetric(CLASSES, DetectionScoring(), thresholds={"cat": 0.65, "dog": 0.5, "owl": 0.05})
    a, b, far = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [60.0, 60, 70, 70]
    metric.update([answer([a, a, far], [0.9, 0.8, 0.7], [0, 0, 0])], [target([a, b], [0, 1])], ["1"])
    truths = target([a, b, far], [0, 0, 0], iscrowd=[False, True, False])
    metric.update([answer([a, b], [0.6, 0.5], [0, 0])], [truths], ["2"])
    return metric


def test_detections_are_decided_as_for_ap50() -> None:
    found = hand().decisions(0.05)
    cats = found["cat"]
    order = np.argsort(-cats.score)
    assert cats.score[order] == pytest.approx([0.9, 0.8, 0.7, 0.6, -np.inf])  # the crowd counts neither as right nor as wrong
    assert cats.right[order].tolist() == [True, False, False, True, True]
    assert cats.first[order].tolist() == [0, 0, 0, 1, 1]
    assert (cats.positives, found["dog"].positives, found["owl"].positives) == (3, 1, 0)
    point = choose(cats, Target.parse("recall=0.6"), 0)
    assert isinstance(point, ClassPoint)
    assert point.threshold == pytest.approx(0.3)
    assert (point.precision, point.recall) == (0.5, 2 / 3)


def test_decisions_give_the_precision_recall_curves_of_pycocotools(shared_data: Path) -> None:
    """COCO's official example: 1 % steps of recall of 80 classes at an IoU of 0.5, whose precision is that of the best threshold."""
    folder = shared_data / "coco-oracle"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    columns = columns_of_coco(truth, found)
    wanted = evaluate(columns, "pycocotools", 100).precision[0, :, :, 0, -1]
    compared = 0
    for index, each in enumerate(decisions_of(columns, 0.05).values()):
        if not each.positives:
            assert (wanted[:, index] == -1).all()
            continue
        for step in (1, 25, 50, 75, 100):
            point = choose(each, Target("recall", step / 100), 0)
            precision = point.precision if isinstance(point, ClassPoint) else 0
            assert precision == pytest.approx(wanted[step, index], abs=1e-9)
            compared += 1
    assert compared > 300


def test_a_report_shows_the_operating_point_and_ap_ignores_it() -> None:
    result = hand().compute()
    assert result.details["operating_point"] == {
        "cat": {"threshold": 0.65, "precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3, "n": 3},
        "dog": {"threshold": 0.5, "precision": None, "recall": 0.0, "f1": 0.0, "n": 1},
    }
    assert [result.per_class["cat"][name] for name in ("precision", "recall", "f1")] == [1 / 3] * 3
    assert result.tables[0].title == "Operating point"
    (per_class,) = [curve for curve in result.curves if curve.marks]
    assert per_class.marks == {"cat": (1 / 3, 1 / 3, "threshold 0.65, precision 0.333, recall 0.333")}
    page = chart(per_class)
    assert page.count('class="mark s0"') == 1
    assert "operating point: cat threshold 0.65" in page
    plain = CocoMetric(CLASSES)
    plain.merge([hand().state()])
    without = plain.compute()
    assert without.scores == result.scores
    assert not any(curve.marks for curve in without.curves)
    assert "operating_point" not in without.details


def predicted(model: Model, data: Path, **options: Any) -> list[Any]:
    return list(zoo.predict(model, sorted(data.glob("*.png")), **options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved detector, `model`, and `data`, whose objects are the detections of cats and dogs with odd ranks."""
    root = tmp_path_factory.mktemp("operating")
    torch.manual_seed(1)
    model = zoo.build("resnet20", task="detection", classes=CLASSES, score_threshold=0.0, **SMALL)
    for number in range(4):
        write_picture(root / "data" / f"{number}.png", picture((40 * number, 90, 200 - 40 * number), number, (48, 64)))
    images, objects = [], []
    for number, found in enumerate(predicted(model, root / "data")):
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        for row in range(1, len(found), 2):
            left, top, right, bottom = found.boxes[row].tolist()
            if found.labels[row] < 2:
                objects.append({"image_id": number, "category_id": int(found.labels[row]), "bbox": [left, top, right - left, bottom - top]})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "categories": categories, "annotations": [{"id": i, **each} for i, each in enumerate(objects)]}
    (root / "data" / "instances.json").write_text(json.dumps(content))
    zoo.save(model, root / "model")
    return root


def tuned(folder: Path, copy: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    zoo.save(zoo.load(folder / "model"), copy)
    assert main(["tune", str(copy), "--data", f"coco:{folder / 'data'}", "--replicates", "20", "--json", "--quiet", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def counted(model: Model, data: Path, **options: Any) -> list[int]:
    return [len(found) for found in predicted(model, data, **options)]


def test_tune_stores_thresholds_that_predict_eval_and_exports_use(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"coco:{folder / 'data'}"
    found = tuned(folder, tmp_path / "m", "--target", "recall=1", capsys=capsys)
    weights = [(path / "weights.safetensors").read_bytes() for path in (folder / "model", tmp_path / "m")]
    assert weights[0] == weights[1]
    stored = json.loads((tmp_path / "m" / "model.json").read_text())["metadata"]
    assert set(stored["thresholds"]) == set(CLASSES)
    assert stored["thresholds"]["owl"] == 0.0
    assert found["kept"] == {"owl": "no objects in the validation data"}
    assert stored["operating_point"]["kept"] == ["owl"]
    point = stored["operating_point"]
    assert (point["target"], point["n"], point["fingerprint"]) == ("recall=1", 4, found["fingerprint"])
    assert point["classes"]["cat"] == found["classes"]["cat"]
    assert point["classes"]["cat"]["recall"] == 1
    assert stored["thresholds"]["cat"] == point["classes"]["cat"]["threshold"]

    model, plain = zoo.load(tmp_path / "m"), zoo.load(folder / "model")
    for before, after in zip(predicted(plain, folder / "data"), predicted(model, folder / "data"), strict=True):
        kept = before.scores > np.array([stored["thresholds"][name] for name in before.names])
        assert after.scores.tolist() == before.scores[kept].tolist()
        assert after.boxes.tolist() == before.boxes[kept].tolist()
        assert after.thresholds.tolist() == [stored["thresholds"][name] for name in CLASSES]
        assert after.plot(min_score=2).tobytes() != after.plot().tobytes() or not len(after)  # everything is drawn
    scores, others = zoo.evaluate(model, data, replicates=0), zoo.evaluate(plain, data, replicates=0)
    assert dict(scores) == dict(others)
    assert scores.details["operating_point"]["cat"]["recall"] == 1
    precision = point["classes"]["cat"]["precision"]
    assert scores.details["operating_point"]["cat"]["precision"] == precision
    assert counted(model, folder / "data", threshold=0.0) == counted(plain, folder / "data")
    assert sum(counted(model, folder / "data", threshold=0.999)) == 0
    again = zoo.evaluate(model, data, replicates=0, metric_options={"threshold": 0.999})
    assert again.details["operating_point"]["cat"]["f1"] == 0


def test_a_target_out_of_reach_is_an_error_and_nothing_is_stored(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.load(folder / "model", max_detections=3), tmp_path / "m")
    before = (tmp_path / "m" / "model.json").read_bytes()
    assert main(["tune", str(tmp_path / "m"), "--data", f"coco:{folder / 'data'}", "--target", "recall=1", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "no threshold reaches the target recall=1 for " in said
    assert "Nothing was stored" in said
    assert (tmp_path / "m" / "model.json").read_bytes() == before
    assert main(["tune", str(tmp_path / "m"), "--data", f"coco:{folder / 'data'}", "--target", "best"]) == 2
    assert "the target is 'best'; expected f1, precision=P" in capsys.readouterr().err


def test_tune_prints_a_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(zoo.load(folder / "model"), tmp_path / "m")
    assert main(["tune", str(tmp_path / "m"), "--data", f"coco:{folder / 'data'}", "--replicates", "0", "--quiet"]) == 0
    out = capsys.readouterr().out
    for words in (
        "target f1, 4 images",
        "threshold",
        "owl keeps its default: no objects in the validation data",
        f"stored in {tmp_path / 'm'}",
    ):
        assert words in out


def test_a_detector_without_an_operating_point_says_so_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = zoo.load(folder / "model", score_threshold=0.05)
    for _ in range(2):
        with Progress() as progress:
            list(zoo.predict(model, folder / "data" / "0.png", progress=progress))
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the detector has no operating point: all detections with a score of at least 0.05 are returned.") == 1
    assert "zoo tune" in said
    for options, metadata in (({"score_threshold": 0.3}, {}), ({"score_threshold": 0.05}, {"thresholds": dict.fromkeys(CLASSES, 0.5)})):
        assert model.definition.answers.without_operating_point(metadata, options) == ""
    assert model in _HINTED


def test_other_thresholds_are_refused(folder: Path) -> None:
    model = zoo.load(folder / "model")
    with pytest.raises(InputError, match=r"threshold is 1\.5; expected a probability from 0 to 1"):
        zoo.predict(model, folder / "data" / "0.png", threshold=1.5)
    with pytest.raises(InputError, match="detection: threshold is -1; expected a probability from 0 to 1"):
        zoo.evaluate(model, f"coco:{folder / 'data'}", metric_options={"threshold": -1})
    with pytest.raises(InputError, match="positive is 'cat', but the model has a threshold for each of cat, dog, owl; omit it"):
        zoo.tune(model, f"coco:{folder / 'data'}", positive="cat")
    model.metadata["thresholds"] = {"cat": 0.5}
    with pytest.raises(InputError, match=r"thresholds in the model's metadata: .*; missing: dog, owl"):
        zoo.evaluate(model, f"coco:{folder / 'data'}")
