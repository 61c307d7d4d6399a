"""Evaluation of models with several heads: each head with data is scored as the model that `zoo.split` takes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.ensembles import data
from tests.unit.joint import KINDS, PARTS, colour_model, joint_model
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.evaluation.evaluate import evaluate, evaluate_predictions
from zoo.evaluation.robustness.attacked import attack_evaluate
from zoo.evaluation.robustness.sweep import evaluate_corruptions

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_head_is_scored_as_if_it_were_alone() -> None:
    model, given = joint_model().train(), {"parts": PARTS, "kinds": KINDS}
    found = evaluate(model, given, replicates=20)
    assert [*found] == ["kinds", "parts"]  # in the order of the model
    assert model.training
    for name, scores in found.items():
        alone = evaluate(zoo.split(model, name), given[name], replicates=20)
        assert dict(scores) == dict(alone)
        assert (scores.intervals, scores.n, scores.fingerprints) == (alone.intervals, alone.n, alone.fingerprints)


def test_heads_without_data_are_not_scored() -> None:
    assert [*evaluate(joint_model(), {"kinds": KINDS}, replicates=0)] == ["kinds"]


@pytest.mark.parametrize("key", ["hue,tint", ("hue", "tint"), "tint, hue"])
def test_several_heads_with_the_same_data(key: Any) -> None:
    model = colour_model()
    found = evaluate(model, {key: data()}, replicates=0)
    assert [*found] == ["hue", "tint"]
    assert found["hue"].details != found["tint"].details  # the heads have different parameters


def test_the_only_head_may_be_named() -> None:
    model = zoo.split(joint_model(), "kinds")
    assert dict(evaluate(model, {"classification": KINDS}, replicates=0)["classification"]) == dict(evaluate(model, KINDS, replicates=0))
    with pytest.raises(UnknownNameError, match=r"unknown head in data: 'kinds'\. Known: classification"):
        evaluate(model, {"kinds": KINDS})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (KINDS, r"data is 'demo:digits.*', but the model has several heads \(kinds, parts\); pass a mapping .*zoo\.split\(model, NAME\)"),
        ([], r"data is a list, but the model has several heads"),
        ({}, "data is an empty mapping; expected an entry for at least one of the heads kinds, parts"),
        ({"part": PARTS}, r"unknown head in data: 'part'\. Nearest: parts"),
        ({"kinds,parts": KINDS, "kinds": KINDS}, "data has several entries for the head 'kinds'; expected one"),
    ],
)
def test_bad_data_is_named(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(joint_model(), given)


def test_all_data_is_opened_before_a_head_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    model = joint_model()
    monkeypatch.setattr(type(model), "levels", lambda *_: pytest.fail("a head was scored"))
    with pytest.raises(DataError, match="no/where"):
        evaluate(model, {"kinds": KINDS, "parts": "coco:no/where"})


def test_scoring_options_apply_to_the_heads_that_have_them() -> None:
    model = joint_model()
    found = evaluate(model, {"kinds": KINDS, "parts": PARTS}, replicates=0, metric_options={"max_dets": 11})
    alone = evaluate(zoo.split(model, "parts"), PARTS, replicates=0, metric_options={"max_dets": 11})
    assert dict(found["parts"]) == dict(alone)
    assert "AR11" in found["parts"]
    with pytest.raises(UnknownNameError, match=r"scoring option of the heads kinds: 'max_dets'"):
        evaluate(model, {"kinds": KINDS}, metric_options={"max_dets": 11})


def test_predictions_are_saved_in_a_file_per_head(tmp_path: Path) -> None:
    model = joint_model()
    found = evaluate(model, {"kinds": KINDS, "parts": PARTS}, replicates=0, save_predictions=tmp_path / "answers")
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["kinds.csv", "parts.json"]
    again = evaluate_predictions(tmp_path / "answers" / "parts.json", "detection", PARTS, replicates=0)
    assert dict(again) == dict(found["parts"])
    with pytest.raises(InputError, match=r"kinds\.csv is a file; the predictions of a model with several heads are saved to a folder"):
        evaluate(model, {"kinds": KINDS}, save_predictions=tmp_path / "kinds.csv")


@pytest.mark.slow
def test_align_applies_to_face_heads() -> None:
    model = joint_model("kinds", "people")
    with pytest.raises(InputError, match="align: the heads kinds process whole images and don't support align; omit it"):
        evaluate(model, {"kinds": KINDS}, align="mtcnn")
    with pytest.raises(DataError, match=r"no face|none of"):  # the drawn noise contains no faces
        evaluate(model, {"kinds": KINDS, "people": data("face", 4, (64, 64))}, align="mtcnn")


def test_ensembles_have_the_same_heads() -> None:
    models, given = [colour_model(seed) for seed in range(2)], {"hue": data(), "tint": data(count=9)}
    found = evaluate(models, given, replicates=0, tta=["flip"])
    for name, scores in found.items():
        assert dict(scores) == dict(evaluate([zoo.split(model, name) for model in models], given[name], replicates=0, tta=["flip"]))
        assert scores.details["ensemble"]["models"] == 2
    with pytest.raises(InputError, match=r"model 2 has the heads kinds, parts where the first has hue, tint\. The models of an ensemble"):
        evaluate([models[0], joint_model()], given)
    other = colour_model(hue=("a", "b", "c"), tint=("a", "b", "c"))
    with pytest.raises(InputError, match="the others have 3: it lacks blue, green, red"):
        evaluate([models[0], other], given)


def test_weights_of_a_vote_are_fitted_per_head() -> None:
    models = [colour_model(seed) for seed in range(2)]
    val = {"hue": data(count=9), "tint": data(count=6)}
    found = evaluate(models, {"hue": data(), "tint": data()}, replicates=0, vote="weighted", val=val)
    assert [found[name].details["ensemble"]["val"]["n"] for name in found] == [9, 6]
    with pytest.raises(InputError, match=r"val is a Dataset, but the model has several heads"):
        evaluate(models, {"hue": data()}, vote="weighted", val=data())


def test_corruptions_and_attacks_per_head() -> None:
    model = colour_model()
    found = evaluate_corruptions(model, {"hue": data(), "tint": data()}, names=["fog"], severities=[1], replicates=0)
    alone = evaluate_corruptions(zoo.split(model, "tint"), data(), names=["fog"], severities=[1], replicates=0)
    assert found["tint"]["corruptions"] == alone["corruptions"]
    assert [*found] == ["hue", "tint"]
    pytest.importorskip("captum")
    attacked = attack_evaluate(model, {"tint": data()}, "fgsm", replicates=0)
    assert (
        attacked["tint"]["robust"]["scores"] == attack_evaluate(zoo.split(model, "tint"), data(), "fgsm", replicates=0)["robust"]["scores"]
    )
    with pytest.raises(InputError, match="several heads"):
        attack_evaluate(model, data(), "fgsm")


def test_no_head_is_attacked_before_all_heads_are_known_to_support_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.evaluation.robustness.attacked.answered", lambda *given: pytest.fail("the first head was scored"))
    with pytest.raises(InputError, match="the task detection doesn't support attacks"):
        attack_evaluate(joint_model(), {"kinds": KINDS, "parts": PARTS}, "pgd")


def test_the_model_stays_whole_on_the_device_of_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view has its own buffers, so moving it to a device would leave those of the model behind."""
    placed: list[Any] = []
    monkeypatch.setattr("zoo.evaluation.heads.place", lambda model, device: placed.append((model, str(device))))
    model = colour_model()
    evaluate(model, {"hue": data()}, replicates=0, device="cpu")
    assert placed == [(model, "cpu")]


def test_scores_are_reproducible_after_other_heads_were_used() -> None:
    model = colour_model()
    first = evaluate(model, {"hue": data()}, replicates=0)["hue"]
    model([np.zeros((16, 16, 3), np.uint8)])
    assert dict(evaluate(model, {"hue,tint": data()}, replicates=0)["hue"]) == dict(first)
