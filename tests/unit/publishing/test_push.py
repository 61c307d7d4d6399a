"""`zoo push`: what is published loads unchanged, in one commit, with a licence, and in timm if timm has the network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants

from tests.unit.publishing.hub import Hub
from zoo import Model, build, load, push, save
from zoo.backbones import Licence
from zoo.errors import InputError
from zoo.models.fingerprint import model_fingerprint

BIRDS = "hf:me/birds"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client


def built(kind: str) -> Model:
    """Return a small model of a task, with metadata that are to be published."""
    if kind == "detection":
        model = build("resnet10t", "detection", classes=["cat", "dog"], image_size=64)
        model.metadata["thresholds"] = {"cat": 0.4, "dog": 0.6}
    elif kind == "face":
        model = build("resnet20", "face", embedding_size=16)
        model.metadata["threshold"] = 0.31
    elif kind == "multi-label":
        model = build("resnet20", classes=["red", "round", "ripe"], multi_label=True)
        model.metadata["thresholds"] = {"red": 0.3, "round": 0.4, "ripe": 0.5}
    else:
        heads = {"animal": ["cat", "dog"], "indoors": ["no", "yes"]}
        model = build("resnet10t", dict.fromkeys(heads, "classification"), classes=heads, image_size=64)
        model.metadata["heads"]["animal"]["thresholds"] = {"dog": 0.7}
    model.metadata["training"] = {"epochs": 3}
    return model


def without_hub(model: Model) -> tuple[Any, ...]:
    """Return everything that must be the same after publication."""
    config = {name: value for name, value in model.config.to_dict().items() if name != "licences"}
    return model_fingerprint(model), config, {name: value for name, value in model.metadata.items() if name != "hub"}


@pytest.mark.parametrize("kind", ["detection", "face", "multi-label", "joint"])
def test_a_published_model_loads_bit_identically(kind: str, hub: Hub, tmp_path: Path) -> None:
    model = built(kind)
    pushed = push(save(model, tmp_path / "model"), BIRDS, licence="mit")
    again = load(BIRDS)
    assert without_hub(again) == without_hub(model)
    assert again.metadata["hub"] == {"repository": "me/birds", "commit": pushed.commit}
    assert again.config.licences == (Licence(f"{BIRDS}@{pushed.commit}", "mit", f"{hub.address}/me/birds"),)
    images = torch.rand(1, 3, 64, 64)
    assert repr(again(images)) == repr(model(images))
    assert not pushed.timm
    assert set(hub.repositories["me/birds"].files) == {".gitattributes", "README.md", "model.json", "weights.safetensors"}


def test_a_classifier_is_stored_once_for_the_zoo_and_for_timm(hub: Hub, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(birds)
    pushed = push(birds, BIRDS, licence="mit")
    assert pushed.timm
    assert set(hub.repositories["me/birds"].files) == {".gitattributes", "README.md", "config.json", "model.json", "model.safetensors"}
    again = load(BIRDS)
    assert without_hub(again) == without_hub(model)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(again(images), model(images))
    network = in_timm("me/birds", hub, monkeypatch)
    way = model.preprocess
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (way.mean, way.std))
    with torch.inference_mode():
        torch.testing.assert_close(network((images - mean) / std), model(images), atol=1e-6, rtol=0)
    settings = timm.data.resolve_model_data_config(network)
    assert (tuple(settings["input_size"]), settings["crop_pct"], settings["interpolation"]) == (
        (3, 64, 64),
        way.crop_pct,
        way.interpolation,
    )
    assert (tuple(settings["mean"]), tuple(settings["std"])) == (way.mean, way.std)
    assert network.pretrained_cfg["label_names"] == ["robin", "wren"]


def in_timm(repository: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return timm's network from a repository; huggingface-hub has read the environment before."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    return timm.create_model(f"hf-hub:{repository}", pretrained=True).eval()


def test_a_push_is_one_commit_which_replaces_the_files_of_an_earlier_model(hub: Hub, birds: Path, digits: Path) -> None:
    push(digits, BIRDS, licence="mit")
    repository = hub.repositories["me/birds"]
    assert len(repository.commits) == 2  # that of the new repository, and that of the push
    push(birds, BIRDS, licence="mit", message="Birds in place of digits")
    assert len(repository.commits) == 3
    assert "weights.safetensors" not in repository.files
    assert load(BIRDS).classes == ("robin", "wren")


def test_a_push_to_a_branch_leaves_the_main_branch_unchanged(hub: Hub, birds: Path, digits: Path) -> None:
    push(digits, BIRDS, licence="mit")
    push(birds, f"{BIRDS}@next", licence="mit")
    assert (load(BIRDS).classes, load(f"{BIRDS}@next").classes) == (("0", "1"), ("robin", "wren"))


@pytest.mark.slow  # starts the command line
def test_a_killed_push_shows_nothing(hub: Hub, digits: Path) -> None:
    hub.stall = "PUT"
    command = [sys.executable, "-m", "zoo", "push", str(digits), BIRDS, "--licence", "mit"]
    with subprocess.Popen(command) as process:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGKILL)
    hub.stall = ""
    assert set(hub.repositories["me/birds"].files) == {".gitattributes"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert load(BIRDS).classes == ("0", "1")


# -- licences ----------------------------------------------------------------------------------------------------------


def test_a_model_without_a_licence_is_not_published(hub: Hub, birds: Path) -> None:
    with pytest.raises(InputError, match="licence of the model isn't known; pass one with --licence"):
        push(birds, BIRDS)
    assert not hub.requests
