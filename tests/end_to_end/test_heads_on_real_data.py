"""Models with several heads, and attributes of objects, on real data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.tasks.detection.data.attributes import attributes_matched
from zoo.tasks.detection.metric.metric import CocoMetric

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ATTRIBUTES = {"size": ["small", "medium", "large"], "border": ["no", "yes"]}
SIZES = {"small": 145, "medium": 82, "large": 56}  # without crowds, by COCO's areas
VEHICLES = {"airplane", "automobile", "ship", "truck"}


def test_a_second_head_leaves_cifar_weights_as_they_are(shared_data: Path, cifar_part: Path, tmp_path: Path) -> None:
    """Animal or vehicle, from the features of a network that was trained on the ten classes."""
    weights = shared_data / "weights" / "resnet56-4bfd9763.th"
    model = zoo.build("resnet56", classes=[folder.name for folder in sorted(cifar_part.iterdir())], weights=weights).eval()
    images = [record.load().image for record in zoo.open_data(f"folder:{cifar_part}?limit=64", "classification").records]
    with torch.inference_mode():
        before = model(images)
    torch.manual_seed(0)
    zoo.add_task(model, "kind", "classification", classes=["animal", "vehicle"])
    zoo.freeze(model, "trunk")
    (tmp_path / "cifar10").symlink_to(cifar_part)
    for split, part in (("train", slice(0, 40)), ("test", slice(40, 60))):
        lines = [
            f"cifar10/{folder.name}/{path.name},{'vehicle' if folder.name in VEHICLES else 'animal'}"
            for folder in sorted(cifar_part.iterdir())
            for path in sorted(folder.iterdir())[part]
        ]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *lines]))
    recipe = zoo.recipe(model.task, "quick", epochs=10)
    run = zoo.train(model, {"kind": f"csv:{tmp_path / 'train.csv'}"}, recipe=recipe, out=tmp_path / "run", device="cpu")
    with torch.inference_mode():
        after = zoo.load(run.folder)(images)
    assert torch.equal(after["classification"], before)
    top1 = zoo.evaluate(run.model, {"kind": f"csv:{tmp_path / 'test.csv'}"}, replicates=0)["kind"]["top1"]
    assert top1 is not None
    assert top1 > 0.75  # it is 0.84; the share of the larger class is 0.6


def with_attributes(annotations: Path, folder: Path) -> Path:
    """Write COCO annotations whose objects have a size class and whether they touch the border of the image."""
    content = json.loads(annotations.read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for box in content["annotations"]:
        x, y, width, height = box["bbox"]
        right, bottom = sizes[box["image_id"]]
        border = min(x, y, right - x - width, bottom - y - height) < 1
        size = ("small", "medium", "large")[(box["area"] >= 32**2) + (box["area"] >= 96**2)]
        box["attributes"] = {"size": size, "border": "yes" if border else "no"}
    written = folder / "instances.json"
    written.write_text(json.dumps(content))
    return written


@pytest.fixture
def coco(shared_data: Path, tmp_path: Path) -> str:
    """Coco-mini with these attributes, as a dataset string."""
    folder = shared_data / "coco-mini"
    return f"coco:{with_attributes(folder / 'instances.json', tmp_path)}?images={folder / 'images'}"


def test_a_perfect_answer_has_perfect_attributes(coco: str) -> None:
    data = attributes_matched(zoo.open_data(coco, "detection"), ATTRIBUTES)
    metric = CocoMetric(data.classes, attributes=ATTRIBUTES)
    for record in data.records:
        boxes, labels = record.target["boxes"], record.target["labels"]
        values = {name: np.eye(len(kinds))[record.target[f"attribute:{name}"]] for name, kinds in ATTRIBUTES.items()}
        found = {"boxes": boxes, "labels": labels, "scores": np.linspace(1, 0.5, len(boxes)), "attributes": values}
        metric.update([found], [record.target], [record.key])
    result = metric.compute(0)
    assert result.scores["attribute_accuracy"] == 1
    assert result.scores["attribute_AP50"] == pytest.approx(1, abs=1e-9)
    found = result.details["attributes"]["size"]["values"]
    assert {name: value["objects"] for name, value in found.items()} == SIZES


def test_attributes_are_learned_from_coco(coco: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes = list(zoo.open_data(coco, "detection").classes)
    sizes: Any = {"image_size": 128, "max_image_size": 170, "fpn_channels": 16, "representation_size": 32}
    model = zoo.build("test_resnet", "detection", classes=classes, attributes=ATTRIBUTES, **sizes)
    run = zoo.train(model, coco, recipe=zoo.recipe("detection", "quick", epochs=6), out=tmp_path / "run", device="cpu")
    first, last = (run.history[place] for place in (0, -1))
    for name in ATTRIBUTES:
        assert last["losses"][f"loss_attribute_{name}"] < first["losses"][f"loss_attribute_{name}"]
