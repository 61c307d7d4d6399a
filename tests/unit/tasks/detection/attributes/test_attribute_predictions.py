"""Attributes in predictions: results, drawings, files, fusion and agreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.unit.tasks.detection.attributes.squares import ATTRIBUTES, write_squares
from tests.unit.tasks.detection.test_head import small_model
from zoo.errors import DataError, InputError
from zoo.evaluation.evaluate import evaluate, evaluate_predictions
from zoo.task.contract import get_task
from zoo.tasks.detection.prediction.combination import fuse
from zoo.tasks.detection.prediction.detections import Detections, equal_boxes

TASK = get_task("detection", {"attributes": ATTRIBUTES})
COLOURS = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
MARKS = np.array([[0.4, 0.6], [0.9, 0.1]], np.float32)
BOXES = np.array([[5, 5, 60, 70], [80, 20, 140, 90]], np.float32)


def found(**changes: Any) -> dict[str, Any]:
    values = {"boxes": BOXES, "scores": np.array([0.9, 0.8], np.float32), "labels": np.array([0, 1])}
    return {**values, "attributes": {"colour": COLOURS, "marked": MARKS}, **changes}


def detections(**changes: Any) -> Detections:
    copied: dict[str, Any] = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in found(**changes).items()}
    copied["attributes"] = {name: values.copy() for name, values in copied["attributes"].items()}
    prediction = TASK.answers.prediction(copied, np.full((100, 160, 3), 200, np.uint8), "p", ("cup", "box"))
    assert isinstance(prediction, Detections)
    return prediction


def test_results_have_readable_values() -> None:
    result = detections()
    assert result.attribute_values == {"colour": ("red", "green", "blue"), "marked": ("false", "true")}
    assert result.attribute_names == [{"colour": "red", "marked": "true"}, {"colour": "blue", "marked": "false"}]
    content = json.loads(json.dumps(result.to_dict()))
    assert content["attributes"] == [
        {"colour": {"value": "red", "probability": pytest.approx(0.7)}, "marked": {"value": "true", "probability": pytest.approx(0.6)}},
        {"colour": {"value": "blue", "probability": pytest.approx(0.8)}, "marked": {"value": "false", "probability": pytest.approx(0.9)}},
    ]
    with pytest.raises(ValueError, match="read-only"):
        result.attributes["colour"][0, 0] = 1


@pytest.mark.parametrize(("attributes", "message"), [
    ({"colour": COLOURS}, r"attributes of p are \['colour'\]; expected those of \['colour', 'marked'\]"),
    ({"colour": COLOURS[:1], "marked": MARKS}, r"attribute 'colour' of p is float32 of shape \(1, 3\); expected float32 \(2, 3\)"),
    ({"colour": COLOURS.astype(np.float64), "marked": MARKS}, r"attribute 'colour' of p is float64"),
    ({"colour": COLOURS, "marked": MARKS + 1}, r"the attribute 'marked' of p has probabilities that are not from 0 to 1"),
    ({"colour": COLOURS, "marked": MARKS * np.float32("nan")}, r"the attribute 'marked' of p has probabilities that are not"),
])  # fmt: skip
def test_wrong_attributes_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detections(attributes=attributes)


def test_the_caption_names_the_most_probable_values(monkeypatch: pytest.MonkeyPatch) -> None:
    import supervision

    captions: list[str] = []
    original = supervision.LabelAnnotator.annotate

    def annotate(self: Any, scene: Any, detections: Any, labels: list[str], **more: Any) -> Any:
        captions.extend(labels)
        return original(self, scene, detections, labels=labels, **more)

    monkeypatch.setattr(supervision.LabelAnnotator, "annotate", annotate)
    plain = detections(scores=np.array([0.9, 0.1], np.float32)).plot()
    assert captions == ["cup 0.90, colour red, marked true"]
    assert plain.size == (480, 300)


def test_fusion_averages_probabilities_with_the_weights_of_the_boxes() -> None:
    one, other = found(), found(scores=np.array([0.3, 0.2], np.float32))
    other["attributes"] = {"colour": COLOURS[::-1], "marked": MARKS}
    fused = fuse([one, other])
    assert fused["attributes"]["colour"][0] == pytest.approx((0.9 * COLOURS[0] + 0.3 * COLOURS[1]) / 1.2)
    assert fused["attributes"]["colour"][1] == pytest.approx((0.8 * COLOURS[1] + 0.2 * COLOURS[0]) / 1.0)
    assert fused["attributes"]["marked"] == pytest.approx(MARKS)
    assert {values.dtype for values in fused["attributes"].values()} == {np.dtype(np.float32)}
    plain = fuse([{name: each[name] for name in ("boxes", "scores", "labels")} for each in (one, other)])
    assert "attributes" not in plain
    assert all(np.array_equal(plain[name], fused[name]) for name in plain)
    nothing = {name: each[:0] for name, each in one.items() if name != "attributes"}
    empty = {**nothing, "attributes": {"colour": COLOURS[:0], "marked": MARKS[:0]}}
    assert {name: each.shape for name, each in fuse([empty, empty])["attributes"].items()} == {"colour": (0, 3), "marked": (0, 2)}


def test_boxes_agree_if_their_probabilities_do() -> None:
    assert equal_boxes(found(), found()) == (2.0, 2.0)
    near = found(attributes={"colour": COLOURS + np.float32(0.09), "marked": MARKS})
    assert equal_boxes(found(), near) == (2.0, 2.0)
    moved = MARKS.copy()
    moved[1] = [0.7, 0.3]
    assert equal_boxes(found(), found(attributes={"colour": COLOURS, "marked": moved})) == (1.0, 2.0)


def test_models_with_other_attributes_are_no_ensemble(tmp_path: Path) -> None:
    models = [small_model(attributes=ATTRIBUTES), small_model(attributes={"colour": ["red", "blue"]})]
    with pytest.raises(InputError, match="models of different variants of the task detection can't be combined"):
        zoo.evaluate(models, f"coco:{write_squares(tmp_path)}")


def test_files_keep_every_digit(tmp_path: Path) -> None:
    data = f"coco:{write_squares(tmp_path / 'data')}"
    torch.manual_seed(0)
    model = zoo.build(
        "test_resnet", "detection", classes=["cup", "box"], image_size=48, attributes=ATTRIBUTES, score_threshold=0.0, max_detections=100
    )
    file = tmp_path / "found.json"
    scores = evaluate(model, data, save_predictions=file, replicates=10)
    assert scores["attribute_accuracy"] is not None
    assert "attribute_AP" in scores.intervals
    entry = json.loads(file.read_text())[0]
    assert {name: list(values) for name, values in entry["attributes"].items()} == ATTRIBUTES
    again = evaluate_predictions(file, "detection", data, options={"attributes": ATTRIBUTES}, replicates=10)
    assert again.scores == scores.scores
    assert again.intervals == scores.intervals
    assert again.details["attributes"] == scores.details["attributes"]
    other_order = {"marked": ["true", "false"], "colour": ["blue", "red", "green"]}
    assert evaluate_predictions(file, "detection", data, options={"attributes": other_order}, replicates=0).scores == pytest.approx(
        scores.scores
    )
    opened = TASK.open(data)
    answers = TASK.answer_files().read(file, opened, opened.classes)
    model.eval()
    with torch.inference_mode():
        (first,) = TASK.answers.split(model([record.load().image for record in opened.records[:1]]))
    for name in ATTRIBUTES:
        assert answers["0.png"]["attributes"][name].dtype == np.float32
        assert answers["0.png"]["attributes"][name].shape == (len(first["boxes"]), len(ATTRIBUTES[name]))
        np.testing.assert_allclose(answers["0.png"]["attributes"][name], first["attributes"][name], rtol=1e-4)


def test_files_without_the_attributes_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = f"coco:{write_squares(tmp_path / 'data')}"
    file = tmp_path / "found.json"
    entry: dict[str, Any] = {"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}
    colours = {"red": 0.5, "green": 0.5, "blue": 0}
    for attributes, message in (
        ({}, r"entry 0: the attribute 'colour' is None; expected a probability for each value, such as \{\"red\": 0.5, \"green\": 0.5"),
        ({"colour": {"red": 1}, "marked": {}}, r"the attribute 'colour' is \{'red': 1\}; expected a probability"),
        ({"colour": colours, "marked": {"false": 2, "true": 0}}, r"the attribute 'marked' is \{'false': 2, 'true': 0\}"),
        ([], r"the attribute 'colour' is None"),
    ):
        file.write_text(json.dumps([{**entry, "attributes": attributes}]))
        with pytest.raises(DataError, match=message):
            evaluate_predictions(file, "detection", data, options={"attributes": ATTRIBUTES})
    file.write_text(json.dumps([{**entry, "attributes": {"colour": colours}}]))
    evaluate_predictions(file, "detection", data, replicates=0)
    assert "attributes that aren't scored: colour; declare them with --attributes" in caplog.text
