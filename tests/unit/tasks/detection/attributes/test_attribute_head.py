"""Attribute heads: losses checked by hand, answers in the order of the boxes, weights, and models without attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.unit.tasks.detection.test_head import pictures, small_model, target
from zoo.errors import InputError, UnknownNameError
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.tasks.detection.model.attributes import attribute_losses

ATTRIBUTES = {"colour": ["red", "green", "blue"], "type": ["old", "new"]}  # nn.Module has a method `type`
BOX = [[10.0, 10.0, 40.0, 50.0]]


def of(*values: int) -> Tensor:
    return torch.tensor(values)


def head_of(model: Model) -> Any:
    return model.head


@pytest.mark.parametrize("version", [1, 2])
def test_losses_are_named_finite_and_reach_every_parameter(version: int) -> None:
    model = small_model(attributes=ATTRIBUTES, head_version=version).train()
    losses = model(pictures(), [target(BOX, [0], **{"attribute:colour": of(2), "attribute:type": of(-1)}), target([], [])])
    assert [name for name in losses if "attribute" in name] == ["loss_attribute_colour", "loss_attribute_type"]
    assert all(bool(loss.isfinite()) and loss.ndim == 0 for loss in losses.values())
    assert losses["loss_attribute_colour"].item() > 0
    assert losses["loss_attribute_type"].item() == 0  # unknown for every object
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    gradients = [bool(gradient.any()) for gradient in (layer.weight.grad for layer in head_of(model).attribute_predictors)]
    assert gradients == [True, False]


def test_the_loss_is_the_mean_over_positive_proposals_with_a_known_value() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [0.5, 0.0]], requires_grad=True)
    # the proposals are matched to the objects 1, 0, 1 of the first image, the second of them as background, and to 0 of the second image
    matched, labels = [of(1, 0, 1), of(0)], [of(2, 0, 1), of(1)]
    values = [{"colour": of(0, 1)}, {"colour": of(-1)}]
    (loss,) = attribute_losses({"colour": logits}, values, matched, labels).values()
    assert loss.item() == pytest.approx(F.cross_entropy(logits[[0, 2]], of(1, 1)).item())
    (nothing,) = attribute_losses({"colour": logits}, [{"colour": of(-1, -1)}, {"colour": of(-1)}], matched, labels).values()
    nothing.backward()  # type: ignore[no-untyped-call]
    assert nothing.item() == 0
    assert logits.grad is not None
    assert not bool(logits.grad.any())


def test_answers_have_the_probabilities_of_their_boxes() -> None:
    """Each detection has the attribute of its proposal, computed from the features that the box head has for it."""
    model = small_model(attributes=ATTRIBUTES, max_detections=20)
    head = model.head
    calls: list[Any] = []
    original = head.call
    head.call = lambda name, rows: calls.append(original(name, rows)) or calls[-1]  # type: ignore[method-assign,func-returns-value]
    with torch.no_grad():
        answers = model(pictures())
    logits, _, colour, kind = (torch.cat(parts) for parts in zip(*calls, strict=True))
    scores = logits.softmax(1)
    for answer in answers:
        assert {name: tuple(values.shape) for name, values in answer["attributes"].items()} == {"colour": (20, 3), "type": (20, 2)}
        for name, all_logits in (("colour", colour), ("type", kind)):
            torch.testing.assert_close(answer["attributes"][name].sum(1), torch.ones(20))
            for label, score, values in zip(answer["labels"], answer["scores"], answer["attributes"][name], strict=True):
                rows = torch.where(scores[:, label + 1] == score)[0]  # scores are unique
                assert len(rows) == 1
                torch.testing.assert_close(values, all_logits[rows[0]].softmax(0))


def test_without_attributes_nothing_changes() -> None:
    plain, other = small_model(), small_model(attributes={})
    assert plain.config.options["attributes"] is None
    assert plain.config == other.config
    assert plain.definition is other.definition is get_task("detection")
    assert not any("attribute" in key for key in plain.state_dict())
    more = small_model(attributes=ATTRIBUTES)
    assert all(torch.equal(value, more.state_dict()[key]) for key, value in plain.state_dict().items())
    with torch.no_grad():
        for one, rich in zip(plain(pictures()), more(pictures()), strict=True):
            assert list(one) == ["boxes", "labels", "scores"]
            assert all(torch.equal(values, rich[name]) for name, values in one.items())
    assert set(plain(pictures(), [target(BOX, [0]), target([], [])])) == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg",
    }  # fmt: skip


def test_models_saved_before_there_were_attributes_are_loaded(tmp_path: Path) -> None:
    model = small_model()
    folder = zoo.save(model, tmp_path / "model")
    description = (folder / "model.json").read_text()
    (folder / "model.json").write_text(description.replace('    "head_version": 1,\n    "attributes": null\n', '    "head_version": 1\n'))
    assert "attributes" not in (folder / "model.json").read_text()
    again = zoo.load(folder)
    assert all(torch.equal(one, other) for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_saved_model_keeps_its_attributes(tmp_path: Path) -> None:
    model = small_model(attributes=ATTRIBUTES)
    again = zoo.load(zoo.save(model, tmp_path / "model"))
    assert again.config == model.config
    assert again.definition is model.definition
    with torch.no_grad():
        for one, other in zip(model(pictures()), again(pictures()), strict=True):
            assert all(torch.equal(one["attributes"][name], other["attributes"][name]) for name in ATTRIBUTES)


def test_only_layers_of_other_attributes_are_fresh(tmp_path: Path) -> None:
    """The box head is kept, also from weights without attributes; without the option, the weights' attributes are used."""
    said: list[str] = []
    plain, rich = zoo.save(small_model(), tmp_path / "plain"), zoo.save(small_model(attributes=ATTRIBUTES), tmp_path / "rich")
    torch.manual_seed(1)
    for folder, attributes, fresh in (
        (plain, ATTRIBUTES, {"attribute_predictors.0.weight", "attribute_predictors.1.bias"}),
        (rich, {"colour": ["red", "blue"]}, {"attribute_predictors.0.weight", "attribute_predictors.1.bias"}),
        (
            rich,
            {name: values[::-1] for name, values in ATTRIBUTES.items()},
            {"attribute_predictors.0.weight", "attribute_predictors.1.bias"},
        ),
        (rich, ATTRIBUTES, set()),
        (rich, None, set()),
        (rich, {}, {"attribute_predictors.0.weight"}),
    ):
        said.clear()
        model = zoo.build("test_resnet", "detection", weights=folder, attributes=attributes, say=said.append)
        assert model.config.options["attributes"] == (ATTRIBUTES if attributes is None else attributes or None)
        known = zoo.load(folder).state_dict()
        for key, value in model.state_dict().items():
            same = key in known and torch.equal(value, known[key])
            assert same == ("attribute_predictors" not in key or not fresh), key
        assert len(said) == bool(fresh)
        for message in said:
            assert "made with other options; newly initialised: attribute_predictors" in message
            assert all(key in message for key in fresh)


@pytest.mark.parametrize(("saved", "options", "message"), [
    (None, {"attributes": ATTRIBUTES}, "attributes is .*, but the model was saved without; omit it"),
    (ATTRIBUTES, {"attributes": {}}, "attributes is {}, but the model was saved with {'colour'"),
    (ATTRIBUTES, {"attributes": {name: values[::-1] for name, values in ATTRIBUTES.items()}}, "but the model was saved with {'colour'"),
    (None, {"fpn_channels": 8}, "fpn_channels is 8, but the model was saved with"),
    (None, {"representation_size": 8}, "representation_size is 8, but the model was saved with"),
])  # fmt: skip
def test_a_saved_model_is_not_loaded_with_other_layers(saved: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = zoo.save(small_model(attributes=saved), tmp_path / "model")
    assert zoo.load(folder, attributes=saved).config.options["attributes"] == saved
    with pytest.raises(InputError, match=message):
        zoo.load(folder, **options)


@pytest.mark.parametrize(("attributes", "message"), [
    ({"colour": ["red"]}, r"values of the attribute 'colour' are 'red'; expected at least two different ones"),
    ({"colour": []}, r"values of the attribute 'colour' are none; expected at least two"),
    ({"colour": ["red", "red"]}, r"values of the attribute 'colour' are 'red', 'red'; expected at least two different ones"),
    ({"colour": ["red", ""]}, r"values of the attribute 'colour' are 'red', ''"),
    ({"colour": "red"}, r"attributes is \{'colour': 'red'\}; expected a mapping from names to values"),
    (["colour"], r"attributes is \['colour'\]; expected a mapping"),
    ({" ": ["a", "b"]}, r"attributes has an empty name"),
    ({"a": ["x", "y"], "a ": ["x", "y"]}, r"attributes has the attribute 'a' twice"),
])  # fmt: skip
def test_wrong_declarations_are_refused(attributes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        zoo.build("test_resnet", "detection", classes=["a"], attributes=attributes)


def test_wrong_targets_are_refused() -> None:
    model = small_model(attributes=ATTRIBUTES)
    for values, message in (
        (
            {"attribute:colour": of(3)},
            r"attribute 'colour' of a target with 1 boxes is \[3\]; expected one index from 0 to 2 per box, or -1",
        ),
        ({"attribute:colour": of(0, 1)}, r"attribute 'colour' of a target with 1 boxes is \[0, 1\]"),
    ):
        with pytest.raises(InputError, match=message):
            model(pictures(1), [target(BOX, [0], **values)])
    with pytest.raises(UnknownNameError, match=r"unknown attribute in a target for detection: 'color'\. Nearest: colour"):
        model(pictures(1), [target(BOX, [0], **{"attribute:color": of(0)})])
