"""Operating points of classifiers: two classes with one threshold, multi-label models, and several classes, which have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

import zoo
from tests.pictures import picture
from zoo.cli.main import main
from zoo.data.dataset import Sample
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.operating import ClassPoint, Target, choose
from zoo.task.contract import get_task
from zoo.tasks.classification.binary import decision_of
from zoo.tasks.classification.metrics import ClassificationMetric
from zoo.tasks.classification.multilabel.metric import MultiLabelMetric
from zoo.tasks.classification.predictions import Classification

CLASSES = ("good", "bad")
IMAGE = np.zeros((8, 8, 3), np.uint8)


def made(seed: int = 0, count: int = 80) -> tuple[Any, Any]:
    """Return logits [N, 2], which prefer the first class, and labels [N]."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.3).astype(int)
    bad = np.round(random.normal(2 * labels - 2.5, 1.2), 1)
    return np.stack([np.zeros(count), bad], 1).astype(np.float32), labels


def computed(logits: Any, labels: Any, decision: tuple[int, float] | None = None, replicates: int = 0) -> Any:
    metric = ClassificationMetric(CLASSES, decision)
    metric.update([*logits], [int(label) for label in labels], [str(place) for place in range(len(labels))])
    return metric.compute(replicates)


def test_scores_of_decisions_follow_the_threshold_and_scores_of_probabilities_do_not() -> None:
    logits, labels = made()
    plain, tuned = computed(logits, labels, replicates=20), computed(logits, labels, (1, 0.2), replicates=20)
    probability = 1 / (1 + np.exp(-logits[:, 1].astype(np.float64)))
    predicted = (probability > 0.2).astype(int)
    assert tuned.per_class["bad"]["f1"] == pytest.approx(f1_score(labels, predicted))
    assert tuned.per_class["bad"]["precision"] == pytest.approx(precision_score(labels, predicted))
    assert tuned.per_class["bad"]["recall"] == pytest.approx(recall_score(labels, predicted))
    assert tuned.scores["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert tuned.scores["f1_micro"] == pytest.approx((predicted == labels).mean())
    assert tuned.details["confusion_matrix"]["rows_true_columns_answered"][1][1] == (predicted & labels).sum()
    assert len(tuned.mistakes) == min(24, (predicted != labels).sum())
    for name in ("top1", "auc", "ece"):
        assert tuned.scores[name] == plain.scores[name]
    assert tuned.replicates["f1"].mean() == pytest.approx(tuned.scores["f1"], abs=0.1)
    marks = [curve.marks for curve in tuned.curves if curve.marks]
    assert marks == [{"bad": (tuned.per_class["bad"]["recall"], tuned.per_class["bad"]["precision"], marks[0]["bad"][2])}]
    assert "threshold 0.2" in marks[0]["bad"][2]


def test_a_chosen_threshold_is_that_of_scikit_learns_curve() -> None:
    logits, labels = made(3)
    metric = ClassificationMetric(CLASSES)
    metric.update([*logits], [int(label) for label in labels], [str(place) for place in range(len(labels))])
    found = metric.decisions(1)
    precision, recall, _ = precision_recall_curve(labels, found.score)
    point = choose(found, Target.parse("precision=0.8"), 0)
    assert isinstance(point, ClassPoint)
    assert point.recall == recall[:-1][precision[:-1] >= 0.8].max()
    first = choose(metric.decisions(0), Target.parse("f1"), 0)
    assert isinstance(first, ClassPoint)
    assert first.n == int((labels == 0).sum())


def test_a_prediction_of_two_classes_is_decided_by_the_threshold() -> None:
    logits = np.array([1.0, 0.0], np.float32)  # the probability of the second class is 0.27
    task = get_task("classification")
    plain = task.answers.prediction(logits, IMAGE, "k", CLASSES)
    tuned = task.answers.prediction(logits, IMAGE, "k", CLASSES, {"thresholds": {"bad": 0.2}})
    assert isinstance(plain, Classification)
    assert isinstance(tuned, Classification)
    assert (plain.name, tuned.name, tuned.names) == ("good", "bad", ("bad",))
    assert tuned.to_dict()["probability"] == pytest.approx(0.269, abs=1e-3)
    assert [line.split()[0] for line in tuned.lines()] == ["bad", "good"]
    assert tuned.above(0.3).name == "good"
    assert plain.above(0.2).name == "bad"
    other = task.answers.prediction(logits, IMAGE, "k", CLASSES, {"thresholds": {"good": 0.8}})
    assert isinstance(other, Classification)
    assert (other.name, other.above(0.7).name) == ("bad", "good")
    with pytest.raises(InputError, match=r"threshold is 1\.5; expected a probability from 0 to 1"):
        plain.above(1.5)
    three = Classification("k", IMAGE, np.full(3, 1 / 3, np.float32), ("a", "b", "c"))
    with pytest.raises(InputError, match="only multi-label classifiers and those with two classes have one"):
        three.above(0.5)
    with pytest.raises(ValueError, match="there are 3 classes; expected two"):
        Classification("k", IMAGE, np.full(3, 1 / 3, np.float32), ("a", "b", "c"), decision=(1, 0.5))


@pytest.mark.parametrize("stored", [{"bad": 2}, {"ugly": 0.5}, {"good": 0.5, "bad": 0.5}, [0.5], {"bad": True}])
def test_other_stored_thresholds_are_refused(stored: Any) -> None:
    with pytest.raises(InputError, match="thresholds in the model's metadata: "):
        decision_of(stored, CLASSES)
    with pytest.raises(InputError, match="thresholds in the model's metadata: "):
        get_task("classification").answers.for_model(CLASSES, {"thresholds": stored})


def samples(count: int, multi: bool = False) -> list[Sample]:
    targets = [[index % 2, (index // 2) % 2] if multi else index % 2 for index in range(count)]
    return [Sample(picture((200 * (index % 2), 80, 40), index), target, str(index)) for index, target in enumerate(targets)]


def test_tune_with_two_classes_in_every_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet20", classes=("0", "1"))
    data = "demo:digits?split=test&classes=0,1&limit=24"
    point = zoo.tune(model, data, "recall=1", replicates=20)
    assert [*point.classes] == ["1"]
    assert point.classes["1"].recall == 1
    assert model.metadata["thresholds"] == {"1": point.classes["1"].threshold}
    zoo.save(model, tmp_path / "m")
    assert main(["tune", str(tmp_path / "m"), "--data", data, "--positive", "0", "--replicates", "0", "--json", "--quiet"]) == 0
    assert [*json.loads(capsys.readouterr().out)["classes"]] == ["0"]
    scores = zoo.evaluate(model, data, replicates=0)
    assert scores.per_class["1"]["recall"] == 1
    strict = zoo.evaluate(model, data, replicates=0, metric_options={"threshold": 1.0})
    assert strict.per_class["1"]["recall"] == 0
    assert strict["top1"] == scores["top1"]
    with pytest.raises(UnknownNameError, match="positive class"):
        zoo.tune(model, data, positive="7")


def test_several_classes_have_no_operating_point() -> None:
    model = zoo.build("resnet20", classes=("0", "1", "2"))
    data = "demo:digits?split=test&classes=0,1,2&limit=6"
    with pytest.raises(InputError, match="a classifier that predicts one of 3 classes has no operating point"):
        zoo.tune(model, data)
    with pytest.raises(InputError, match="a classifier that predicts one of 3 classes has no operating point"):
        zoo.evaluate(model, data, metric_options={"threshold": 0.5})


def test_a_positive_class_is_for_two_exclusive_classes() -> None:
    model = zoo.build("resnet20", classes=("0", "1"), multi_label=True)
    with pytest.raises(InputError, match="positive is '1', but the model has a threshold for each of 0, 1; omit it"):
        zoo.tune(model, "demo:digits?split=test&classes=0,1&limit=4", positive="1")


def test_multi_label_thresholds_are_those_of_scikit_learns_curve() -> None:
    random = np.random.default_rng(1)
    targets = (random.random((90, 2)) < [0.4, 0.2]).astype(np.float32)
    logits = np.round(random.normal(2 * targets - 1.5), 1).astype(np.float32)
    targets[random.random((90, 2)) < 0.2] = np.nan
    metric = MultiLabelMetric(("a", "b"), None)
    metric.update([*logits], [*targets], [f"{place:02}" for place in range(90)])
    for index, (name, found) in enumerate(metric.decisions().items()):
        known = ~np.isnan(targets[:, index])
        precision, recall, thresholds = precision_recall_curve(targets[known, index], found.score)
        assert (name, found.units, found.positives) == ("ab"[index], 90, targets[known, index].sum())
        point = choose(found, Target.parse("precision=0.6"), 0)
        assert isinstance(point, ClassPoint)
        reached = precision[:-1] >= 0.6
        assert point.recall == recall[:-1][reached].max()
        place = int(np.flatnonzero(reached & (recall[:-1] == point.recall))[-1])
        assert thresholds[place - 1] < (point.threshold or 0) < thresholds[place]


def test_several_heads_are_tuned_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes = {"labels": ("a", "b"), "kinds": ("0", "1"), "digits": ("0", "1", "2")}
    model = zoo.build("resnet20", dict.fromkeys(classes, "classification"), classes=classes, multi_label={"labels": True})
    folder = zoo.save(model, tmp_path / "m")
    found = zoo.tune(folder, {"labels": samples(8, multi=True), "kinds": "demo:digits?split=test&classes=0,1&limit=12"}, replicates=10)
    again = zoo.load(folder)
    assert [*found] == ["labels", "kinds"]
    assert again.head_metadata("labels")["thresholds"] == {name: point.threshold for name, point in found["labels"].classes.items()}
    assert again.head_metadata("kinds")["operating_point"]["target"] == "f1"
    assert "operating_point" not in again.head_metadata("digits")
    answers: list[Any] = list(zoo.predict(again, picture((200, 80, 40)), threshold=0.0))
    assert len(answers[0]["labels"].names) == 2
    assert answers[0]["kinds"].name == "1"
