"""Batches of detection: images of one orientation, and a random size per batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection.transform import resize_boxes

from tests.pictures import picture, write_picture
from zoo.curation.convert import convert
from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import Balanced, Shuffled
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.task.contract import get_task
from zoo.tasks.detection.training.augment import rescaled
from zoo.tasks.detection.training.grouping import AspectGrouped, are_tall
from zoo.tasks.detection.training.recipe import DetectionRecipe


@given(st.lists(st.booleans(), min_size=4, max_size=60), st.integers(4, 9), st.sampled_from([2, 4]), st.integers(0, 3))
def test_every_sample_is_in_one_batch(tall: list[bool], batch_size: int, smallest: int, seed: int) -> None:
    sampling = AspectGrouped(tuple(tall), batch_size, smallest)
    batches = sampling.batches(torch.Generator().manual_seed(seed))
    assert len(batches) == len(sampling) == len(Shuffled(len(tall), batch_size, smallest))
    assert sorted(place for batch in batches for place in batch) == list(range(len(tall)))
    assert all(len(batch) >= min(smallest, len(tall)) for batch in batches)
    mixed = [batch for batch in batches if len({tall[place] for place in batch}) > 1]
    assert len(mixed) <= 2  # the two remainders are less than two batches


def test_batches_are_of_one_orientation_and_come_in_another_order_every_epoch() -> None:
    tall = tuple(index % 3 == 0 for index in range(120))
    sampling = AspectGrouped(tall, 8, 2)
    first, again, other = (sampling.batches(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(len({tall[place] for place in batch}) == 1 for batch in first)
    assert first == again != other
    kinds = [tall[batch[0]] for batch in first]
    assert kinds != sorted(kinds)  # not all wide ones first
    assert kinds != sorted(kinds, reverse=True)


def test_sizes_come_from_arrays_annotations_and_headers(tmp_path: Path) -> None:
    write_picture(tmp_path / "tall.png", picture((9, 9, 9), size_hw=(30, 20)))
    (tmp_path / "no.png").write_bytes(b"no picture")
    wide = picture((9, 9, 9), size_hw=(20, 30))
    records = (
        Record("array", wide.transpose(1, 0, 2).copy(), None),
        Record("header", tmp_path / "tall.png", None),
        Record("annotated", tmp_path / "missing.png", None, (30, 20)),
        Record("wide", wide, None),
        Record("square", picture((9, 9, 9)), None),
        Record("drawn", lambda: wide, None),
        Record("unreadable", tmp_path / "no.png", None),
    )
    assert are_tall(Dataset("d", records)) == (True, True, True, False, False, False, False)


@pytest.mark.parametrize("scheme", ["coco", "csv", "voc", "yolo"])
def test_every_format_knows_the_sizes_of_its_pictures(tmp_path: Path, scheme: str) -> None:
    sizes = {"tall.png": (30, 20), "wide.png": (20, 30)}
    source = tmp_path / "source"
    for name, size_hw in sizes.items():
        write_picture(source / name, picture((9, 9, 9), size_hw=size_hw))
    images = [{"id": number, "file_name": name, "height": hw[0], "width": hw[1]} for number, (name, hw) in enumerate(sizes.items())]
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 8, 9]} for number in range(2)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "spot"}]}
    (source / "instances.json").write_text(json.dumps(content))
    task = get_task("detection")
    (data,) = convert(f"coco:{source}", f"{scheme}:{tmp_path / 'data'}", task, lossy=True).data
    dataset = task.open(data)
    assert {Path(record.key).name: record.size_hw for record in dataset.records} == sizes
    assert sorted(are_tall(dataset)) == [False, True]


def records(*sizes_hw: tuple[int, int]) -> Dataset:
    target = {"boxes": np.zeros((1, 4), np.float32), "labels": np.zeros(1, np.int64)}
    targets = [{**target, "labels": np.array([index % 2])} for index in range(len(sizes_hw))]
    return Dataset("d", tuple(Record(f"{i}", np.zeros((*hw, 3), np.uint8), targets[i]) for i, hw in enumerate(sizes_hw)))


@pytest.mark.parametrize(("settings", "kind"), [
    ({}, AspectGrouped), ({"group_aspect": False}, Shuffled), ({"balance": "classes"}, Balanced),
])  # fmt: skip
def test_the_recipe_chooses_the_sampling(settings: dict[str, Any], kind: type) -> None:
    task = get_task("detection")
    mixed = records((20, 30), (30, 20), (20, 30), (30, 20))
    assert isinstance(task.data.sampling(DetectionRecipe(**settings), mixed, 2, 2), kind)
    assert not isinstance(task.data.sampling(DetectionRecipe(**settings), records(*[(20, 30)] * 4), 2, 2), AspectGrouped)


def marked_batch(preprocess: Preprocess) -> tuple[ImageBatch, list[torch.Tensor]]:
    """Return two black images of different shape, each with a white rectangle, and the boxes in pixels of the images."""
    boxes = [torch.tensor([[20.0, 30, 60, 90]]), torch.tensor([[100.0, 50, 180, 80]])]
    pictures = []
    for size_hw, box in zip(((200, 120), (100, 200)), boxes, strict=True):
        image = np.zeros((*size_hw, 3), np.uint8)
        left, top, right, bottom = (int(side) for side in box[0])
        image[top:bottom, left:right] = 255
        pictures.append(image)
    return preprocess.batch(pictures), boxes


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_a_batch_is_scaled_and_its_boxes_with_it(factor: float) -> None:
    batch, boxes = marked_batch(Preprocess(policy="fit", size_hw=(128, 224)))
    scaled = rescaled(batch, factor, factor)
    assert scaled.original_sizes_hw == batch.original_sizes_hw
    assert scaled.pixels.shape[-2:] == tuple(round(side * factor / 32) * 32 for side in batch.pixels.shape[-2:])
    for pixels, box, size, original in zip(scaled.pixels, boxes, scaled.sizes_hw, scaled.original_sizes_hw, strict=True):
        expected = resize_boxes(box, list(original), list(size))[0]  # as the head scales the targets
        inside = pixels[0, : size[0], : size[1]] > 0.5
        rows, columns = (torch.nonzero(inside.any(axis))[:, 0] for axis in (1, 0))
        found = torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
        assert float((found - expected).abs().max()) <= 1.5


def test_a_batch_of_its_own_size_is_left_alone_and_no_side_is_below_a_cell() -> None:
    batch, _ = marked_batch(Preprocess(policy="fit", size_hw=(128, 224)))
    assert rescaled(batch, 1.0, 1.0) is batch
    assert rescaled(batch, 0.05, 0.05).pixels.shape[-2:] == (32, 32)


def test_sizes_are_drawn_between_the_two_factors() -> None:
    torch.manual_seed(0)
    batch, _ = marked_batch(Preprocess(policy="fit", size_hw=(128, 224)))
    height = batch.pixels.shape[2]
    seen = {rescaled(batch, 0.5, 1.0).pixels.shape[2] for _ in range(40)}
    assert seen == set(range(round(height / 64) * 32, height + 1, 32))


def test_the_task_scales_the_batches_of_training() -> None:
    batch, boxes = marked_batch(Preprocess(policy="fit", size_hw=(128, 224)))
    task = get_task("detection")
    images, targets = task.data.mix(DetectionRecipe(scale_min=0.5, scale_max=0.5), batch, boxes, 1)
    assert batch.pixels.shape[2:] == (224, 224)
    assert images.pixels.shape[2:] == (128, 128)  # half of it, in multiples of 32
    assert targets is boxes
    assert task.data.mix(DetectionRecipe(), batch, boxes, 1)[0] is batch
