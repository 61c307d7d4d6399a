"""Tests of predictions, prediction files, combination and examples of multi-label classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

import zoo
from zoo.compilation.agreement import compare
from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.task.contract import get_task
from zoo.task.metric import Mistake
from zoo.tasks.classification.multilabel.head import MultiLabelHead
from zoo.tasks.classification.predictions import Classification

MULTI = get_task("classification", {"multi_label": True})
CLASSES = ("a", "b", "c")
IMAGE = np.zeros((20, 30, 3), np.uint8)
LOGITS = np.array([1.0, 3.0, -2.0], np.float32)


def test_a_prediction_has_the_labels_above_the_thresholds() -> None:
    one = MULTI.answers.prediction(LOGITS, IMAGE, "k", CLASSES)
    assert isinstance(one, Classification)
    np.testing.assert_allclose(one.probabilities, expit(LOGITS), rtol=1e-6)
    assert (one.labels, one.names, one.top(1)[0][0]) == ((1, 0), ("b", "a"), "b")
    found = one.to_dict()
    assert {name: found[name] for name in ("key", "labels", "names")} == {"key": "k", "labels": [1, 0], "names": ["b", "a"]}
    assert found["probabilities"] == pytest.approx(expit([3.0, 1.0]))
    assert [each["name"] for each in found["top"]] == ["b", "a", "c"]
    strict = MULTI.answers.prediction(LOGITS, IMAGE, "k", CLASSES, {"thresholds": {"a": 0.9, "b": 0.99, "c": 0.05}})
    assert isinstance(strict, Classification)
    assert strict.names == ("c",)
    assert one.plot().size[1] > 20
    none = MULTI.answers.prediction(np.full(3, -5, np.float32), IMAGE, "k", CLASSES)
    assert none.to_dict()["names"] == []
    assert none.plot().size[1] > 20


def test_a_prediction_of_one_class_has_this_label() -> None:
    one = Classification.from_logits("k", IMAGE, LOGITS, CLASSES)
    assert (one.labels, one.names) == ((1,), ("b",))
    with pytest.raises(ValueError, match=r"thresholds have the shape \(2,\); expected \(3,\)"):
        Classification("k", IMAGE, expit(LOGITS), CLASSES, np.zeros(2))


def test_predict_uses_the_stored_thresholds_and_refuses_others() -> None:
    model = zoo.build("resnet20", classes=list(CLASSES), multi_label=True)
    assert model.metadata == {"thresholds": None}
    model.metadata["thresholds"] = {"a": 0.0, "b": 1.0, "c": 0.0}
    (found,) = zoo.predict(model, [np.zeros((32, 32, 3), np.uint8)])
    assert isinstance(found, Classification)
    assert set(found.names) == {"a", "c"}
    model.metadata["thresholds"] = {"a": 0.5}
    with pytest.raises(InputError, match=r"thresholds in the model's metadata: .*; missing: b, c"):
        list(zoo.predict(model, [np.zeros((32, 32, 3), np.uint8)]))
    with pytest.raises(InputError, match=r"thresholds in the model's metadata: .*; missing: b, c"):
        zoo.evaluate(model, data())


def data() -> Dataset:
    records = (Record("x", IMAGE, [1, 0, None]), Record("y", IMAGE, [0, 0, 1]))
    return Dataset("here", records, CLASSES)


def test_agreement_is_the_fraction_of_equal_decisions() -> None:
    assert MULTI.answers.agreement(LOGITS, np.array([0.1, -0.1, -9], np.float32)) == (2, 3)
    stored = MULTI.answers.for_model(CLASSES, {"thresholds": {"a": 0.6, "b": 0.4, "c": 0.1}})
    assert stored.agreement(LOGITS, np.array([0.1, -0.1, -9], np.float32)) == (1, 3), "a and c cross their thresholds, b doesn't"


def test_a_compiled_model_is_compared_at_the_stored_thresholds() -> None:
    model = zoo.build("resnet20", classes=list(CLASSES), multi_label=True)
    head = model.head
    assert isinstance(head, MultiLabelHead)
    torch.nn.init.zeros_(head.fc.weight)
    compiled = zoo.compile(model, "eager", "fp32")
    with torch.no_grad():
        head.fc.bias.sub_(1e-4)  # the compiled model has a copy
    image = model.preprocess.batch(torch.zeros(1, 3, 32, 32))
    probability = model(image).sigmoid()[0].double()
    at_probability = dict(zip(CLASSES, (probability + 1e-6).tolist(), strict=True))
    for thresholds, agreement in ((None, 1.0), (at_probability, 0.0)):
        model.metadata["thresholds"] = thresholds
        assert compare(model, compiled, [image], MULTI).agreement == agreement


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"a": 0.5}, "missing: b, c"),
        ({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}, "unknown: d"),
        ([0.5, 0.5, 0.5], "missing: a, b, c"),
        ({"a": 0.5, "b": 1.5, "c": 0.5}, "'b' is 1.5; expected a probability from 0 to 1"),
    ],
)
@pytest.mark.parametrize("joint", [False, True])
def test_wrong_thresholds_are_reported_before_the_first_image(tmp_path: Path, thresholds: Any, said: str, joint: bool) -> None:
    heads = {"m": "classification", "n": "classification"} if joint else {"m": "classification"}
    model = zoo.build("resnet20", heads, classes=dict.fromkeys(heads, CLASSES), multi_label=True)
    model.head_metadata("m")["thresholds"] = thresholds

    def images() -> Iterator[NDArray[np.uint8]]:
        pytest.fail("an image was read")
        yield IMAGE

    with pytest.raises(InputError, match=rf"thresholds in the model's metadata: .*{said}"):
        zoo.predict(model, images())
    zoo.save(model, tmp_path / "saved")
    with pytest.raises(InputError, match=rf"saved.model\.json: thresholds in the model's metadata: .*{said}"):
        zoo.load(tmp_path / "saved")


def test_metadata_without_an_entry_for_a_head_is_reported(tmp_path: Path) -> None:
    heads = {"m": "classification", "n": "classification"}
    model = zoo.build("resnet20", heads, classes=dict.fromkeys(heads, CLASSES), multi_label=True)
    del model.metadata["heads"]["n"]
    with pytest.raises(InputError, match=r"saved.model\.json: the metadata has no entry for the head 'n'; save the model again"):
        zoo.load(zoo.save(model, tmp_path / "saved"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_files_are_read_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    answers = {"x": LOGITS / 3, "y": np.array([1e-30, 88.5, -3e20], np.float32)}
    files = MULTI.answer_files()
    files.write(tmp_path / f"a{suffix}", answers, data(), CLASSES)
    read = files.read(tmp_path / f"a{suffix}", data(), CLASSES)
    for key, answer in answers.items():
        np.testing.assert_array_equal(read[key], answer)


def test_probabilities_in_a_file_need_not_sum_to_1(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("key,a,b,c\nx,0.9,0.8,0.1\ny,1,0,0.5\n")
    read = MULTI.answer_files().read(file, data(), CLASSES)
    np.testing.assert_allclose(expit(read["x"]), [0.9, 0.8, 0.1], rtol=1e-5)
    np.testing.assert_allclose(expit(read["y"].astype(np.float64)), [1, 0, 0.5], atol=1e-300)
    file.write_text("key,a,b,c\nx,0.9,1.8,0.1\ny,1,0,0.5\n")
    with pytest.raises(DataError, match=r"its probabilities range from 0\.1 to 1\.8; expected 0 to 1\. If they are logits"):
        MULTI.answer_files().read(file, data(), CLASSES)
    file.write_text("key,label\nx,a\ny,b\n")
    with pytest.raises(DataError, match=r"or named logit:CLASS with its logit$"):
        MULTI.answer_files().read(file, data(), CLASSES)
    (tmp_path / "a.jsonl").write_text('{"key": "x", "label": "a"}\n{"key": "y", "label": "a"}\n')
    with pytest.raises(DataError, match="has no prediction; expected one of logits or probabilities"):
        MULTI.answer_files().read(tmp_path / "a.jsonl", data(), CLASSES)


def test_models_are_combined_by_their_mean_probability() -> None:
    combination = MULTI.combination()
    other = np.array([-2.0, 60.0, -2.0], np.float32)
    wanted = (expit(LOGITS.astype(np.float64)) + expit(other.astype(np.float64))) / 2
    np.testing.assert_allclose(combination.models([LOGITS, other], "soft", [0.5, 0.5]), logit(wanted), rtol=1e-5)
    np.testing.assert_allclose(combination.views([LOGITS, other]), logit(wanted), rtol=1e-5)
    certain = np.full(3, 60, np.float32)  # its probability rounds to 1
    np.testing.assert_allclose(combination.views([certain, certain]), certain, rtol=1e-6)
    np.testing.assert_array_equal(combination.recounted(LOGITS, [2, 0, 1]), [3, -2, 1])
    assert combination.mirrored(LOGITS, (2, 2)) is LOGITS


def test_an_ensemble_and_its_views() -> None:
    first, second = (zoo.build("resnet20", classes=names, multi_label=True) for names in (["a", "b", "c"], ["c", "a", "b"]))
    scores = zoo.evaluate([first, second], data(), tta=("flip",), replicates=0)
    assert scores.n == 2
    for vote in ("hard", "weighted"):
        with pytest.raises(UnknownNameError, match="vote of the task classification"):
            zoo.evaluate([first, second], data(), vote=vote, val=data() if vote == "weighted" else None)
    with pytest.raises(InputError, match="models of different variants of the task classification"):
        zoo.evaluate([first, zoo.build("resnet20", classes=list(CLASSES))], data())


def test_thresholds_of_an_ensemble_are_used_if_they_are_equal() -> None:
    equal = {"thresholds": {"a": 0.1, "b": 0.2, "c": 0.3}}
    assert MULTI.parse_scoring({}, [equal, equal]) == {**equal, "threshold": None}
    assert MULTI.parse_scoring({}, [equal, {"thresholds": None}])["thresholds"] is None
    assert MULTI.parse_scoring({})["thresholds"] is None


def test_examples() -> None:
    targets = [np.array([1, 1, 0], np.float32), np.array([0, np.nan, 0], np.float32), np.full(3, np.nan, np.float32), None]
    answers = [LOGITS, LOGITS, -LOGITS, -np.ones(3)]
    shown = MULTI.answers.examples(answers, targets, ["w", "x", "y", "z"], CLASSES, 9)
    assert [(each.answer, each.truth, each.right) for each in shown] == [
        ("a, b", "a, b", True), ("a, b", "b?", False), ("c", "a?, b?, c?", None), ("none", "", None)
    ]  # fmt: skip


def test_saliency_maps_are_those_of_the_wrong_classes() -> None:
    model = zoo.build("resnet20", classes=list(CLASSES), multi_label=True)
    batch = model.preprocess.batch([np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)])
    maps = MULTI.answers.explain(model, batch, Mistake(("k",), "a: missed a", 1.0, labels=(0, 2)))
    assert list(maps) == ["Grad-CAM for a", "Grad-CAM for c"]
    assert all(heat.shape == (32, 32) for heat in maps.values())
