"""Models with several heads: building, calling, adding, removing and taking out heads, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.errors import InputError, UnknownNameError
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {"species": "classification", "health": "classification", "parts": "detection"}
CLASSES = {"species": ["cat", "dog"], "health": ["ill", "well", "unknown"], "parts": ["ear", "tail"]}
SMALL: dict[str, Any] = {"image_size": 64, "fpn_channels": 16, "representation_size": 16, "proposals": 20, "pre_nms_proposals": 20}


def joint(**options: Any) -> Model:
    torch.manual_seed(0)
    return zoo.build("test_resnet", task=KINDS, classes=CLASSES, **{**SMALL, "score_threshold": 0.0, **options})


def photos() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((60, 90), (100, 50), (64, 64))]


@contextmanager
def counted(model: Model) -> Iterator[list[int]]:
    """Return a context in which a list receives the number of images of every pass through the backbone."""
    passes: list[int] = []
    hook = model.backbone.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    yield passes
    hook.remove()


def equal(one: Any, other: Any) -> bool:
    """Return whether two answers, or dicts of answers, are equal bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return len(one) == len(other) and all(map(equal, one, other))


@torch.no_grad()
def answers(model: Model, **options: Any) -> Any:
    return model(photos(), **options)


# -- calling -----------------------------------------------------------------------------------------------------------


def test_the_backbone_runs_once_for_all_heads() -> None:
    model = joint()
    with counted(model) as passes:
        found = answers(model)
    assert [*found] == [*KINDS]
    assert found["species"].shape == (3, 2)
    assert found["health"].shape == (3, 3)
    assert [*found["parts"][0]] == ["boxes", "labels", "scores"]
    assert passes == [3]
    assert model.classes == {name: tuple(names) for name, names in CLASSES.items()}
    assert model.task == KINDS


def test_only_the_chosen_heads_are_computed() -> None:
    model = joint()
    everything = answers(model)
    model.heads["parts"].forward = model.heads["species"].forward = None  # type: ignore[assignment]
    assert equal(answers(model, tasks=["health"]), {"health": everything["health"]})
    with pytest.raises(UnknownNameError, match=r"unknown head of the model: 'helth'\. Nearest: health"):
        answers(model, tasks=["helth"])


def test_losses_are_named_after_their_heads() -> None:
    model = joint()
    boxes = [{"boxes": torch.tensor([[5.0, 5.0, 40.0, 40.0]]), "labels": torch.tensor([1])}] * 3
    with counted(model) as passes:
        losses = model(photos(), {"parts": boxes, "species": torch.tensor([0, 1, 1])})
    assert passes == [3]
    assert sorted(losses) == [
        "parts/loss_box_reg", "parts/loss_classifier", "parts/loss_objectness", "parts/loss_rpn_box_reg", "species/loss_classifier",
    ]  # fmt: skip
    assert losses["species/loss_classifier"] == model(photos(), {"species": torch.tensor([0, 1, 1])})["species/loss_classifier"]
    with pytest.raises(UnknownNameError, match="unknown head of the model: 'tails'"):
        model(photos(), {"tails": boxes})
    mistakes: tuple[Any, ...] = (boxes, {})
    for wrong in mistakes:
        with pytest.raises(InputError, match=r"the targets .* are a dict from head name \(species, health, parts\)"):
            model(photos(), wrong)
    with pytest.raises(InputError, match=r"tasks is \['health'\], but the targets are those of parts; expected a head with targets"):
        model(photos(), {"parts": boxes}, tasks=["health"])


def test_an_answer_does_not_depend_on_the_padding_of_the_batch() -> None:
    model = zoo.build(
        "test_resnet", task=("classification", "detection"), num_classes=dict.fromkeys(("classification", "detection"), 2), **SMALL
    )
    small, large = photos()[2], torch.rand(3, 64, 200)
    padded = model.preprocess.batch([small, large])
    assert padded.pixels.shape[3] > 64
    features = {"c5": torch.zeros(2, 512, 2, padded.pixels.shape[3] // 32)}
    features["c5"][0, :, :, :2] = 1  # the image; what lies beyond it is padding
    pooled = model.heads["classification"].pool(features, padded)  # type: ignore[operator]
    assert pooled[0].unique().tolist() == [1.0]


def test_heads_that_are_prepared_differently_need_passes_of_their_own() -> None:
    model = joint()
    zoo.add_task(model, "who", "face", num_classes=3, image_size=48)
    assert [way.heads for way in model.passes()] == [("species", "health", "parts"), ("who",)]
    with counted(model) as passes:
        found = answers(model)
    assert [*found] == [*KINDS, "who"]
    assert passes == [3, 3]
    with counted(model) as passes:
        answers(model, tasks=["species", "parts"])
    assert passes == [3]
    with pytest.raises(InputError, match=r"2 ways of preprocessing images \(policy is fit for species, health, parts and squash for who"):
        _ = model.preprocess
    with pytest.raises(InputError, match="a prepared batch suits one way of preprocessing, but the heads have 2"):
        model(model.passes()[0].preprocess.batch(photos()))


def test_fewer_passes_than_needed_are_refused() -> None:
    with pytest.raises(InputError, match=r"passes is 1, .* need 2 .*size_hw is \(48, 48\) for species and \(64, 107\) for parts"):
        zoo.build(
            "test_resnet", task={"species": "classification", "parts": "detection"}, num_classes={"species": 2, "parts": 2}, passes=1,
            image_size={"species": 48, "parts": 64},
        )  # fmt: skip
    model = zoo.build("test_resnet", num_classes=2)
    with pytest.raises(InputError, match="passes is 1, but the heads need 2"):
        zoo.add_task(model, "detection", num_classes=2, passes=1)
    assert [*model.heads] == ["classification"]


def test_two_classifiers_share_a_pass() -> None:
    names = ("colour", "shape")
    model = zoo.build("resnet20", task=dict.fromkeys(names, "classification"), num_classes=dict.fromkeys(names, 4), passes=1)
    with counted(model) as passes, torch.no_grad():
        model(torch.rand(5, 3, 32, 32))
    assert passes == [5]


# -- building ----------------------------------------------------------------------------------------------------------


def test_options_of_one_head_and_of_all() -> None:
    model = joint(dropout={"health": 0.5}, nms_threshold=0.3)
    options = {name: head.options for name, head in model.config.heads.items()}
    assert [options["species"]["dropout"], options["health"]["dropout"], options["parts"]["nms_threshold"]] == [0.0, 0.5, 0.3]
    assert len(model.passes()) == 1, "an image size for all heads doesn't separate them"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": ("classification", "classification")}, r"two heads have the name 'classification'; give them different names"),
        ({"task": ()}, "task is empty"),
        ({"task": ("classification", "detektion")}, "unknown task 'detektion'"),
        ({"task": {"a.b": "classification", "c": "detection"}}, r"a head is named 'a\.b'; expected letters, digits, _ and -"),
        ({"task": {"train": "classification", "c": "detection"}}, "a head is named 'train', which PyTorch reserves"),
        (
            {"classes": ["cat", "dog"]},
            r"classes is \['cat', 'dog'\]; expected a mapping from head name \(classification, detection\) to classes",
        ),
        ({"num_classes": 2}, "num_classes is 2; expected a mapping from head name"),
        ({"classes": {"parts": ["ear"]}}, r"unknown head in classes: 'parts'\. .*Known: classification, detection"),
        ({"dropout": {"clasification": 0.1}}, r"unknown head in dropout: 'clasification'\. Nearest: classification"),
        ({"score_threshold": {}}, "score_threshold is an empty mapping; expected a value, or a mapping"),
        ({"drop_out": 0.1}, r"unknown option of the heads classification, detection: 'drop_out'\. Nearest: dropout"),
        ({"nms_threshold": {"classification": 0.5}}, "unknown option of the task classification: 'nms_threshold'"),
    ],
)
def test_what_can_not_be_built(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        zoo.build("resnet20", **{"task": ("classification", "detection"), **arguments})


def test_weights_of_one_task_load_into_the_backbone_and_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    single = zoo.build("test_resnet", "detection", classes=CLASSES["parts"], **SMALL)
    zoo.save(single, tmp_path / "single")
    said: list[str] = []
    model = zoo.build("test_resnet", KINDS, classes=CLASSES, weights=tmp_path / "single", say=said.append, **SMALL)
    assert equal(dict(model.backbone.state_dict()), dict(single.backbone.state_dict()))
    assert equal(dict(model.heads["parts"].state_dict()), dict(single.head.state_dict()))
    assert len(said) == 1
    assert said[0].endswith("loaded into the backbone; the heads species, health are newly initialised")


def test_a_saved_joint_model_gives_its_weights_to_others(tmp_path: Path) -> None:
    model = joint()
    zoo.save(model, tmp_path / "model")
    detector = zoo.build("test_resnet", "detection", weights=tmp_path / "model", image_size=64)
    assert detector.classes == ("ear", "tail")
    assert equal(dict(detector.head.state_dict()), dict(model.heads["parts"].state_dict()))
    with pytest.raises(InputError, match=r"has several classification heads \(species, health\); .*zoo\.split"):
        zoo.build("test_resnet", "classification", weights=tmp_path / "model")
    face = zoo.build("test_resnet", "face", num_classes=2, weights=tmp_path / "model")
    assert equal(dict(face.backbone.state_dict()), dict(model.backbone.state_dict()))


def test_a_saved_joint_model_gives_each_head_of_the_same_name_its_weights(tmp_path: Path) -> None:
    model, said = joint(), list[str]()
    zoo.save(model, tmp_path / "model")
    again = zoo.build("test_resnet", KINDS, weights=tmp_path / "model", say=said.append, **SMALL)
    assert equal(dict(again.state_dict()), dict(model.state_dict()))
    assert [again.config.heads[name].classes for name in KINDS] == [model.config.heads[name].classes for name in KINDS]
    assert said == []
    kinds = {"health": "classification", "parts": "detection", "new": "classification"}
    other = zoo.build(
        "test_resnet", kinds, num_classes={"health": None, "parts": 5, "new": 3}, weights=tmp_path / "model", say=said.append, **SMALL
    )
    assert equal(dict(other.heads["health"].state_dict()), dict(model.heads["health"].state_dict()))
    assert said[0].endswith("loaded into the backbone; the new head is newly initialised")
    assert "made for 2 classes, but the model has 5" in said[1]


# -- adding, removing, taking out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_head_taken_out_gives_the_same_answers(name: str) -> None:
    model = joint()
    model.head_metadata(name)["note"] = "its own"
    alone = zoo.split(model, name)
    assert equal(answers(alone), answers(model)[name])
    assert (alone.task, alone.classes) == (KINDS[name], tuple(CLASSES[name]))
    assert alone.metadata["note"] == "its own"
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.zero_()
    assert not equal(answers(alone), answers(model)[name]), "the model keeps its own parameters"


def test_a_view_shares_the_parameters() -> None:
    model = joint()
    view = model.view("species")
    assert {id(parameter) for parameter in view.parameters()} <= {id(parameter) for parameter in model.parameters()}
    assert view.view("classification") is view
    with pytest.raises(UnknownNameError, match=r"unknown head of the model: 'specie'\. Nearest: species"):
        model.view("specie")


def test_adding_a_head_leaves_the_answers_of_the_others() -> None:
    torch.manual_seed(0)
    model = zoo.build("test_resnet", classes=CLASSES["species"])
    model.metadata["trained"] = "yesterday"
    before = answers(model)
    assert zoo.add_task(model, "parts", "detection", classes=CLASSES["parts"], **SMALL) is model
    assert equal(answers(model)["classification"], before)
    assert len(model.passes()) == 2, "the classifier was trained on crops"
    assert model.metadata == {"heads": {"classification": {"trained": "yesterday"}, "parts": {}}}
    zoo.remove_task(model, "parts")
    assert equal(answers(model), before)
    assert model.metadata == {"trained": "yesterday"}


def test_a_classifier_added_to_a_detector_shares_its_pass() -> None:
    model = zoo.build("test_resnet", "detection", classes=CLASSES["parts"], **SMALL)
    before = answers(model)
    zoo.add_task(model, "species", "classification", classes=CLASSES["species"], passes=1)
    with counted(model) as passes:
        found = answers(model)
    assert passes == [3]
    assert equal(found["detection"], before)
    assert found["species"].shape == (3, 2)


def test_heads_that_can_not_be_added_or_removed() -> None:
    model = zoo.build("resnet20", classes=["cat", "dog"])
    with pytest.raises(InputError, match="the model already has a head 'classification'"):
        zoo.add_task(model, "classification", num_classes=2)
    with pytest.raises(InputError, match="'classification' is the only head of the model"):
        zoo.remove_task(model, "classification")
    for change in (zoo.split, zoo.remove_task):
        with pytest.raises(UnknownNameError, match="unknown head of the model: 'parts'"):
            change(model, "parts")
    compiled = zoo.compile(model, "eager")
    for change in (zoo.split, zoo.remove_task):
        with pytest.raises(InputError, match="the heads of a compiled model can't be changed"):
            change(compiled, "classification")
    with pytest.raises(InputError, match="the heads of a compiled model can't be changed"):
        zoo.add_task(compiled, "face")


# -- saving ------------------------------------------------------------------------------------------------------------


def test_a_saved_model_answers_the_same(tmp_path: Path) -> None:
    model = joint()
    model.head_metadata("health")["threshold"] = 0.25
    zoo.save(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "weights.safetensors"]
    loaded = zoo.load(tmp_path / "model")
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata
    assert equal(answers(loaded), answers(model))
    few = zoo.load(tmp_path / "model", max_detections=2, image_size=96)
    assert max(len(found["boxes"]) for found in answers(few)["parts"]) == 2
    assert [way.preprocess.size_hw for way in few.passes()] == [(96, 107)]


def test_a_model_left_with_one_head_keeps_its_name(tmp_path: Path) -> None:
    model = joint()
    for name in ("species", "parts"):
        zoo.remove_task(model, name)
    assert answers(model).shape == (3, 3), "a model with one head answers without a dict"
    zoo.save(model, tmp_path / "model")
    content = json.loads((tmp_path / "model" / "model.json").read_text())
    assert [*content["heads"]] == ["health"]
    assert equal(answers(zoo.load(tmp_path / "model")), answers(model))


def test_the_description_says_how_many_passes_an_image_needs(tmp_path: Path) -> None:
    model = joint()
    zoo.save(model, tmp_path / "model")
    assert zoo.info(tmp_path / "model")["passes"] == "1 per image"
    zoo.add_task(model, "who", "face", num_classes=2, image_size=48)
    zoo.save(model, tmp_path / "model")
    found = zoo.info(tmp_path / "model")
    assert found["passes"].startswith("2 per image: policy is fit for species, health, parts and squash for who; size_hw is (64, 107)")
    assert [*found["heads"]] == [*KINDS, "who"]


def test_frozen_heads_of_a_frozen_backbone_stay_as_they_are() -> None:
    model = joint(freeze="trunk").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    sum(model(photos(), {"health": torch.tensor([0, 1, 2])}).values()).backward()
    optimizer.step()
    changed = {name.split(".")[1] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"health"}
