"""Repositories of timm: those that timm writes are loaded with the same logits, and those that the zoo writes are read by timm."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants

from tests.unit.publishing.hub import Hub
from zoo import build, load, pull, save
from zoo.errors import InputError, WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.classes import imagenet_classes
from zoo.models.model import Model
from zoo.publishing.timm_form import write_timm_form

PLACE = "hf:you/net"
_NAMES = ["robin", "wren", "owl"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client


@pytest.fixture
def published(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function with which timm publishes a network; huggingface-hub has read the environment before."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def publish(network: Any, **settings: Any) -> Any:
        timm.models.push_to_hf_hub(network, "you/net", **settings)
        return network.eval()

    return publish


def logits(network: Any, model: Model, images: torch.Tensor) -> torch.Tensor:
    """Return the logits of timm's network for images that are normalised as the model does it."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    with torch.inference_mode():
        found: torch.Tensor = network((images - mean) / std)
    return found


@pytest.mark.parametrize("form", ["both", True])
def test_what_timm_publishes_is_loaded_with_the_same_logits(form: Any, published: Any, hub: Hub) -> None:
    data = {"input_size": (3, 96, 96), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "crop_pct": 0.9, "interpolation": "bilinear"}
    network = published(
        timm.create_model("resnet10t", num_classes=3), model_config={"label_names": _NAMES}, data_config=data, safe_serialization=form
    )
    model, images = load(PLACE), torch.rand(2, 3, 96, 96)
    assert (model.backbone_name, list(model.classes)) == ("resnet10t", _NAMES)
    assert model.preprocess == Preprocess("crop", (96, 96), 0.9, "bilinear", True, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    torch.testing.assert_close(model(images), logits(network, model, images), atol=1e-6, rtol=0)
    commit = hub.repositories["you/net"].refs["main"]
    assert model.hub == {"repository": "you/net", "commit": commit}
    assert model.config.weights == f"{PLACE}@{commit}"
    assert [(each.weights, each.licence) for each in model.config.licences] == [(f"{PLACE}@{commit}", "apache-2.0")]
    assert not hub.asked("GET .*pytorch_model.bin")


def test_pickles_of_timm_alone_are_refused(published: Any) -> None:
    published(timm.create_model("resnet10t", num_classes=3), safe_serialization=False)
    with pytest.raises(InputError, match=r"weights only as pickles \(pytorch_model.bin\)"):
        load(PLACE)


def test_networks_of_imagenet_have_its_classes(published: Any) -> None:
    network = published(timm.create_model("resnet10t"), safe_serialization=True)
    model = load(PLACE)
    assert model.classes == imagenet_classes()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model(images), logits(network, model, images), atol=1e-6, rtol=0)


def test_the_backbone_of_a_repository_of_timm_serves_other_tasks(published: Any, tmp_path: Path) -> None:
    network = published(timm.create_model("resnet10t", num_classes=3), safe_serialization=True)
    detector = build("resnet10t", "detection", classes=["cat"], weights=PLACE, image_size=64, say=lambda text: None)
    assert torch.equal(detector.backbone.state_dict()["net.conv1.0.weight"], network.state_dict()["conv1.0.weight"])
    with pytest.raises(WeightsError, match="keys missing"):
        build("resnet18", weights=PLACE)
    pull(PLACE, tmp_path / "net")  # a saved model of the zoo
    assert load(tmp_path / "net").hub == detector.hub


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architecture": "vit_tiny_patch16_224"}, "contains the network 'vit_tiny_patch16_224', which isn't a backbone of the zoo"),
        ({"architectures": ["ResNet"]}, "not the name of their network"),
        ({"architecture": "resnet10t", "model_args": {"output_stride": 8}}, "changes the network .output_stride., which the backbone"),
        ({"architecture": "resnet10t", "global_pool": "max"}, "changes the network .global_pool 'max'., which"),
        ({"architecture": "resnet10t", "pretrained_cfg": {"std": [0, 0, 0]}}, "config.json is not a valid description"),
        ({"architecture": "resnet10t", "label_names": {"a": "robin"}}, "config.json is not a valid description"),
    ],
)
def test_descriptions_of_other_networks_are_refused(config: dict[str, Any], reason: str, hub: Hub, birds: Path) -> None:
    hub.add("you/net", {"config.json": json.dumps(config).encode(), "model.safetensors": (birds / "weights.safetensors").read_bytes()})
    with pytest.raises(InputError, match=reason):
        load(PLACE)


def test_a_description_that_is_no_json_is_refused(hub: Hub, birds: Path) -> None:
    hub.add("you/net", {"config.json": b"{", "model.safetensors": (birds / "weights.safetensors").read_bytes()})
    with pytest.raises(InputError, match=r"config\.json can't be read"):
        load(PLACE)


def test_old_descriptions_of_timm_are_read(hub: Hub) -> None:
    config = {"architecture": "resnet10t", "labels": {"1": "wren", "0": "robin"}, "mean": [0.5, 0.5, 0.5], "input_size": [3, 64, 64]}
    weights = safetensors.torch.save(timm.create_model("resnet10t", num_classes=2).state_dict())
    hub.add("you/net", {"config.json": json.dumps(config).encode(), "model.safetensors": weights})
    model = load(PLACE)
    assert (model.classes, model.preprocess.mean, model.preprocess.size_hw) == (("robin", "wren"), (0.5, 0.5, 0.5), (64, 64))


# -- the zoo's models for timm -----------------------------------------------------------------------------------------


def test_a_classifier_that_is_a_convolution_in_timm(tmp_path: Path) -> None:
    model = build("resnetv2_18", num_classes=3, image_size=64)
    assert not write_timm_form(model, tmp_path, "mit")
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model(images), logits(network, model, images), atol=1e-6, rtol=0)
    save(model, tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").unlink()
    (tmp_path / "model.safetensors").rename(tmp_path / "model" / "model.safetensors")
    again = load(tmp_path / "model")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: build("resnet20", classes=["a", "b"]), "timm has no network resnet20"),
        (lambda: build("resnet10t", classes=["a", "b"], classifier="knn"), "its head is not a linear layer"),
        (lambda: build("resnet10t", classes=["a", "b"], adapters=True), "timm has no network resnet10t with this head"),
        (lambda: build("resnet10t", "face", embedding_size=8), "it is not a classifier"),
        (lambda: _with_eps(build("resnet10t", classes=["a", "b"], image_size=64)), "timm's network has other logits"),
    ],
)
def test_models_that_timm_does_not_have(model: Any, reason: str, tmp_path: Path) -> None:
    assert reason in write_timm_form(model(), tmp_path, "mit")
    assert not [*tmp_path.iterdir()]


def _with_eps(model: Model) -> Model:
    """Change what timm's description can't contain."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.1
    return model
