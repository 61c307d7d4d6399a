"""Small models with several heads, for the tests of the verbs."""

from __future__ import annotations

from typing import Any

import torch

import zoo
from tests.pictures import COLOURS
from zoo.models.model import Model

DIGITS = tuple(map(str, range(10)))
TASKS = {"kinds": "classification", "parts": "detection", "people": "face"}
KINDS, PARTS = "demo:digits?split=test&limit=12", "demo:scenes?split=test&limit=3"


def joint_model(*heads: str, seed: int = 0, **options: Any) -> Model:
    """Return a model with the heads "kinds" and "parts", which share a pass, or those that are named; "people" has its own pass."""
    torch.manual_seed(seed)
    tasks = {name: TASKS[name] for name in heads or ("kinds", "parts")}
    sizes = {name: 64 for name in tasks if name != "kinds"}
    own = {"score_threshold": 0.0, "max_detections": 5} if "parts" in tasks else {}
    classes = {name: DIGITS for name in tasks if name != "people"}
    return zoo.build("resnet20", tasks, **{"classes": classes, "image_size": sizes, **own, **options})


def colour_model(seed: int = 0, **classes: tuple[str, ...]) -> Model:
    """Return a model with classification heads for images of 16 pixels; by default, "hue" and "tint" with the same three classes."""
    torch.manual_seed(seed)
    names = classes or dict.fromkeys(("hue", "tint"), tuple(sorted(COLOURS)))
    return zoo.build("resnet20", dict.fromkeys(names, "classification"), classes=names, image_size=16)
