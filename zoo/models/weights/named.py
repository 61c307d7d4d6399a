"""Fetch weights by name, with the loaders of the libraries that publish them.

Names are timm tags, members of torchvision's enums, and names of the weights of other backbones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torchvision
from torchvision.transforms.v2.functional import InterpolationMode

from zoo.backbones import BACKBONES
from zoo.errors import UnknownNameError, WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.weights import Weights
from zoo.models.weights.files import read_state
from zoo.models.weights.imagenet import imagenet_classes
from zoo.models.weights.layouts import LAYOUTS, convert

# torchvision's detection models by backbone
_DETECTORS = {"resnet50": "fasterrcnn_resnet50_fpn"}


def known_weights(backbone: str, task: str) -> tuple[str, ...]:
    """Return the names of all known weights for a backbone and task, the default first."""
    names = [*_torchvision_names(_DETECTORS.get(backbone, ""))] if task == "detection" else []
    return (*names, *BACKBONES[backbone].weights(), *_torchvision_names(backbone))


def _torchvision_names(builder: str) -> tuple[str, ...]:
    if builder not in torchvision.models.list_models():
        return ()
    return tuple(torchvision.models.get_model_weights(builder).__members__)


def load_named_weights(name: str, backbone: str, task: str) -> Weights:
    """Fetch weights by name, which is "default" or one of `known_weights`."""
    known = known_weights(backbone, task)
    if name == "default":
        if not known:
            raise WeightsError(f"no weights are known for the backbone {backbone!r}; pass a file, or omit weights for random parameters")
        name = known[0]
    if name not in known:
        raise UnknownNameError(f"weights for {backbone} ({task}):", name, known, "" if known else "Pass a file instead.")
    detector = _DETECTORS.get(backbone, "")
    if task == "detection" and name in _torchvision_names(detector):
        return _torchvision(detector, name, "torchvision_detection", backbone)[0]
    if name not in BACKBONES[backbone].weights():
        weights, transforms = _torchvision(backbone, name, "timm", backbone)
        return _with_names(weights, _preprocess_of(transforms))
    definition, origin = BACKBONES[backbone], f"{backbone}.{name}"
    assert definition.load_weights is not None, "a backbone that lists weights can load them"
    loader = definition.load_weights
    found, preprocess = _fetch(origin, lambda: loader(name))
    state = read_state(found) if isinstance(found, Path) else found
    return _with_names(convert(state, backbone, origin), preprocess)


def _fetch(origin: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except WeightsError:  # its message already names the problem and the remedy
        raise
    except Exception as error:  # third-party loaders raise errors of any class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights {origin}: could not be fetched ({reason}). Check the network, or download the file elsewhere and pass its path"
        ) from error


def _torchvision(builder: str, name: str, layout: str, backbone: str) -> tuple[Weights, Any]:
    """Fetch the weights of a torchvision model, and return them together with their transforms."""
    entry = torchvision.models.get_model_weights(builder)[name]
    state = _fetch(str(entry), lambda: entry.get_state_dict(progress=False, check_hash=True))
    return LAYOUTS[layout].convert(state, backbone, str(entry)), entry.transforms()


def _preprocess_of(transforms: Any) -> Preprocess:
    """Convert torchvision's `ImageClassification` preset to preprocessing settings."""
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return Preprocess(
        policy="crop",
        size_hw=(crop, crop),
        crop_pct=crop / resize,
        interpolation="bicubic" if transforms.interpolation == InterpolationMode.BICUBIC else "bilinear",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _with_names(weights: Weights, preprocess: Preprocess) -> Weights:
    classes = imagenet_classes() if weights.num_classes == 1000 else ()
    return replace(weights, classes=classes, preprocess=preprocess)
