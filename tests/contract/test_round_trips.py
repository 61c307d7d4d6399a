"""The contract of every way to hand on a model: what is loaded answers as the original did, to the last bit, and has the same metadata."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.engines import fake
from tests.unit.artefacts.encrypted import write_identity
from tests.unit.artefacts.signatures import write_keys
from tests.unit.publishing.conftest import hub
from zoo.engines import ENGINES
from zoo.models.model import Model
from zoo.system.threads import THREADS

__all__ = ["fake", "hub"]  # fixtures

pytestmark = pytest.mark.usefixtures("one_thread")

_DETECTOR: dict[str, Any] = {
    "image_size": 64, "max_image_size": 96, "fpn_channels": 16, "representation_size": 16, "proposals": 20, "score_threshold": 0.0,
    "max_detections": 10,
}  # fmt: skip
_POINT = {"target": "f1", "data": "demo", "fingerprint": "0123456789abcdef", "n": 20, "classes": {}, "kept": []}


@cache
def original(task: str) -> Model:
    """Return a small model with thresholds and a training summary; tests copy it, because predictions change its memory format."""
    torch.manual_seed(0)
    if task == "joint":
        classes = {"kind": ["cat", "dog"], "parts": ["ear", "tail"]}
        tasks = {"kind": "classification", "parts": "detection", "who": "face"}
        model = zoo.build("resnet8", tasks, classes=classes, embedding_size=8, **_DETECTOR)
        model.head_metadata("kind").update(thresholds={"dog": 0.25}, operating_point=_POINT)
    else:
        kinds: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
            "classification": ("classification", {"classes": ["cat", "dög"], "image_size": 64}, {"thresholds": {"dög": 0.25}}),
            "multi-label": ("classification", {"num_classes": 3, "image_size": 64, "multi_label": True},
                            {"thresholds": {"0": 0.25, "1": 0.5, "2": 0.75}}),
            "detection": ("detection", {"classes": ["red", "white"], **_DETECTOR}, {"thresholds": {"red": 0.125, "white": 0.25}}),
            "attributes": ("detection", {"classes": ["cell"], **_DETECTOR, "attributes": {"colour": ["dark", "light"]}}, {}),
            "face": ("face", {"image_size": 64, "embedding_size": 8}, {"threshold": 0.375}),
        }  # fmt: skip
        of, options, metadata = kinds[task]
        model = zoo.build("test_resnet" if of == "classification" else "resnet8", of, **options)
        model.metadata |= metadata
    model.metadata["training"] = {"data": "demo", "samples": 20, "val": {"top1": 0.5}}
    return model.eval()


def images() -> list[np.ndarray[Any, Any]]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((64, 64), (60, 80))]


def saved(model: Model, folder: Path) -> tuple[Model, Model]:
    """Return a model and what is loaded after it was saved."""
    return model, zoo.load(zoo.save(model, folder / "m"))


def exported(model: Model, folder: Path) -> tuple[Model, Model]:
    """Return the compiled model and what is loaded after it was saved. The joint model, with heads of all tasks, has a real engine."""
    fast = zoo.compile(model, "openvino" if model.is_joint else "fake", precision="fp32")
    return fast, zoo.load(zoo.save(fast, folder / "m"))


def signed(model: Model, folder: Path) -> tuple[Model, Model]:
    """Return a model and what is loaded after it was saved and signed; models that aren't signed are refused."""
    private, public = write_keys(folder / "keys")
    zoo.sign(zoo.save(model, folder / "m"), private)
    (folder / "trusted").mkdir()
    public.rename(folder / "trusted" / "key.pub")
    return model, zoo.load(folder / "m", trust="enforce", trusted_keys=folder / "trusted")


def encrypted(model: Model, folder: Path) -> tuple[Model, Model]:
    """Return a model and what is decrypted into memory; the unencrypted folder is gone."""
    recipient = write_identity(folder / "identity.txt")
    zoo.encrypt(zoo.save(model, folder / "m"), folder / "m.age", recipients=recipient)
    shutil.rmtree(folder / "m")
    return model, zoo.load(folder / "m.age", identity=folder / "identity.txt")


def pushed(model: Model, folder: Path) -> tuple[Model, Model]:
    """Return a model and what is loaded from the Hub."""
    zoo.push(zoo.save(model, folder / "m"), "hf:me/model", licence="mit")
    return model, zoo.load("hf:me/model")


Way = Callable[[Model, Path], tuple[Model, Model]]
WAYS: dict[str, Way] = {"saved": saved, "exported": exported, "signed": signed, "encrypted": encrypted, "pushed": pushed}


def same(first: Any, second: Any) -> bool:
    """Return whether answers are equal to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first.dtype == second.dtype and torch.equal(first, second))


def _cases() -> list[Any]:
    openvino = pytest.mark.skipif(ENGINES["openvino"].missing() is not None, reason="OpenVINO isn't installed")
    tasks = ("classification", "multi-label", "detection", "attributes", "face", "joint")
    marks = {("joint", "exported"): (pytest.mark.slow, openvino)}
    return [pytest.param(task, way, marks=marks.get((task, way), ())) for task in tasks for way in WAYS]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Keep the number of threads, which otherwise follows the load of the machine and changes the last bits."""
    with THREADS.held():
        yield


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client
@pytest.mark.usefixtures("fake", "hub")
@pytest.mark.parametrize(("task", "way"), _cases())
def test_what_is_loaded_is_the_model_that_was_handed_on(task: str, way: str, tmp_path: Path) -> None:
    first, second = WAYS[way](copy.deepcopy(original(task)), tmp_path)
    with torch.inference_mode():
        tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images()]
        wanted, found = first(tensors), second(tensors)
    assert same(wanted, found)
    assert not same(wanted, first([tensor.flip(2) for tensor in tensors])), "the answers depend on the images"
    assert (second.classes, second.task, second.backbone_name) == (first.classes, first.task, first.backbone_name)
    licences = second.config.licences if way == "pushed" else first.config.licences  # that of the repository is added
    assert second.config == replace(first.config, licences=licences)
    assert (second.metadata.pop("hub", None) is not None) == (way == "pushed")
    assert second.metadata == first.metadata
    predictions = [[each.to_dict() for each in zoo.predict(model, images())] for model in (first, second)]
    assert predictions[0] == predictions[1]
