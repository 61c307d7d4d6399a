"""Copy-paste: outlines are read on demand, and pasted objects keep their box, class and flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from tests.pictures import write_picture
from zoo.data.dataset import Dataset, Sample
from zoo.errors import DataError, InputError
from zoo.images.preprocess import Preprocess
from zoo.task.contract import get_task
from zoo.tasks.detection.data.outlines import Outlines
from zoo.tasks.detection.training.augment import Augment, Scene, paste
from zoo.tasks.detection.training.recipe import DetectionRecipe

SQUARE = [10, 10, 20, 10, 20, 20, 10, 20]
HW = (40, 60)


def opened(root: Path) -> Dataset:
    return get_task("detection").open(f"coco:{root}")


def write_coco(root: Path, *segmentations: Any, ids: bool = True) -> Path:
    """Write two images, grey and black; every outline belongs to an annotation of the first one, with the box of `SQUARE`."""
    for name, grey in (("a.png", 100), ("b.png", 0)):
        write_picture(root / name, np.full((*HW, 3), grey, np.uint8))
    annotations: list[dict[str, Any]] = []
    for number, segmentation in enumerate(segmentations):
        entry: dict[str, Any] = {"image_id": 1, "category_id": 5, "bbox": [10, 10, 10, 10], "segmentation": segmentation}
        annotations.append({**entry, "id": 70 + number} if ids else entry)
    images = [{"id": number, "file_name": name, "height": HW[0], "width": HW[1]} for number, name in ((1, "a.png"), (2, "b.png"))]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "square"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def runs(compressed: bool) -> dict[str, Any]:
    mask = np.zeros(HW, np.uint8)
    mask[10:20, 10:20] = 1
    if compressed:
        encoded = coco_mask.encode(np.asfortranarray(mask))
        return {"size": list(HW), "counts": encoded["counts"].decode()}
    column = mask.reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(column)) + 1
    return {"size": list(HW), "counts": np.diff([0, *edges, len(column)]).tolist()}


@pytest.mark.parametrize("outline", [[SQUARE], [SQUARE, [10.5, 10.5, 12, 10.5, 12, 12]], runs(True), runs(False)])
@pytest.mark.parametrize("ids", [True, False])
def test_outlines_of_every_kind_are_drawn(tmp_path: Path, outline: Any, ids: bool) -> None:
    data = opened(write_coco(tmp_path, outline, None, ids=ids))
    outlines = Outlines.of(data)
    masks = outlines.masks(data.records[0].target, HW)
    assert (masks.shape, masks.dtype) == ((2, *HW), torch.bool)
    expected = np.zeros(HW, bool)
    expected[10:20, 10:20] = True
    assert np.array_equal(masks[0], expected)
    assert not masks[1].any()  # no outline
    assert outlines.masks(data.records[1].target, HW).shape == (0, *HW)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_masks_are_those_of_pycocotools(shared_data: Path) -> None:
    from pycocotools.coco import COCO

    data = opened(shared_data / "coco-mini")
    outlines = Outlines.of(data)
    theirs = COCO(str(shared_data / "coco-mini" / "instances.json"))
    compared = 0
    for record in data.records[:12]:
        assert record.size_hw is not None
        masks = outlines.masks(record.target, record.size_hw)
        for mask, identity in zip(masks, record.target["ids"], strict=True):
            assert np.array_equal(mask, theirs.annToMask(theirs.anns[int(identity)]).astype(bool))
            compared += 1
    assert compared > 50


def test_run_lengths_of_a_picture_of_another_size_are_no_mask_of_this_one(tmp_path: Path) -> None:
    data = opened(write_coco(tmp_path, runs(True)))
    assert not Outlines.of(data).masks(data.records[0].target, (HW[1], HW[0])).any()


@pytest.mark.parametrize("outline", [
    [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], ["abc"], 7, [[1, 2, 3, 4, 5, None]], {"counts": [1, 2]}, {"size": [4, 4]},
    {"counts": [5, 5], "size": [4, 4]}, {"counts": "zzzzzz", "size": [4, 4]}, {"counts": [1, 2], "size": [10**6, 10**6]},
    {"counts": [1, -1], "size": [4, 4]},
])  # fmt: skip
def test_an_outline_that_is_none_is_named(tmp_path: Path, outline: Any) -> None:
    data = opened(write_coco(tmp_path, [SQUARE], outline))
    with pytest.raises(DataError, match=r"instances\.json: annotation 71: the segmentation is .*; expected polygons .* or run lengths"):
        Outlines.of(data)


def test_a_file_without_outlines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"copy_paste needs the objects' masks; no box of dataset 'coco:.*' has a segmentation in instances"
    ):
        Outlines.of(opened(write_coco(tmp_path, None, [])))


def scene(*squares: tuple[int, int], grey: int = 0, side: int = 10, crowd: bool = False, labels: int = 0, size_hw: Any = HW) -> Scene:
    """Return a grey scene with squares at (left, top), in grey levels by their number."""
    image = np.full((*size_hw, 3), grey, np.uint8)
    masks = torch.zeros((len(squares), *size_hw), dtype=torch.bool)
    for number, (left, top) in enumerate(squares):
        image[top : top + side, left : left + side] = 200 + number
        masks[number, top : top + side, left : left + side] = True
    boxes = np.array([[left, top, left + side, top + side] for left, top in squares], np.float32).reshape(-1, 4)
    target = {"boxes": boxes, "labels": np.full(len(squares), labels), "iscrowd": np.full(len(squares), crowd)}
    return Scene.of(Sample(image, target, "p"), masks)


def pasted(onto: Scene, source: Scene) -> Scene:
    """Paste with the first seed that selects every object."""
    for seed in range(100):
        torch.manual_seed(seed)
        if bool((torch.rand(len(source.boxes)) < 0.5).all()):
            torch.manual_seed(seed)
            return paste(onto, source)
    raise AssertionError("no seed")


def test_an_object_brings_its_pixels_its_box_and_its_class() -> None:
    out = pasted(scene((5, 5), grey=50), scene((30, 20), labels=3))
    assert out.boxes.tolist() == [[5, 5, 15, 15], [30, 20, 40, 30]]
    assert out.fields["labels"].tolist() == [0, 3]
    assert out.areas.tolist() == [100, 100]
    assert out.masks is None
    expected = scene((5, 5), grey=50).image.clone()
    expected[:, 20:30, 30:40] = 200
    assert torch.equal(out.image, expected)


def test_what_is_half_covered_keeps_its_visible_half_and_what_is_covered_vanishes() -> None:
    half = pasted(scene((5, 5)), scene((10, 0), side=20, labels=1))
    assert half.boxes.tolist() == [[5, 5, 10, 15], [10, 0, 30, 20]]
    assert half.areas.tolist() == [50, 400]
    gone = pasted(scene((12, 5)), scene((10, 0), side=20, labels=1))
    assert gone.fields["labels"].tolist() == [1]
    assert gone.boxes.tolist() == [[10, 0, 30, 20]]


def test_an_object_without_an_outline_stays_as_it_is_and_is_not_pasted() -> None:
    blank = scene((5, 5))
    assert blank.masks is not None
    blank.masks[:] = False
    out = pasted(blank, scene((5, 0), side=20, labels=1))
    assert out.boxes.tolist() == [[5, 5, 15, 15], [5, 0, 25, 20]]
    assert pasted(scene((30, 20)), blank).boxes.tolist() == [[30, 20, 40, 30]]


def test_crowds_are_not_pasted() -> None:
    assert len(pasted(scene(), scene((5, 5), crowd=True)).boxes) == 0


def test_a_source_of_another_shape_is_cut_to_the_picture() -> None:
    out = pasted(scene(), scene((0, 35), side=10, size_hw=(60, 40)))
    assert out.boxes.tolist() == [[0, 35, 10, 40]]
    assert out.image.shape == (3, *HW)


def test_about_half_of_the_objects_are_pasted() -> None:
    torch.manual_seed(0)
    source = scene(*((6 * number, 0) for number in range(8)), side=5)
    counts = [len(paste(scene(), source).boxes) for _ in range(60)]
    assert 3.4 < np.mean(counts) < 4.6
    assert len(set(counts)) > 4


def test_augmentation_pastes_objects_of_other_pictures(tmp_path: Path) -> None:
    data = opened(write_coco(tmp_path, [SQUARE]))
    preprocess = Preprocess(policy="fit", size_hw=HW)
    change = Augment(DetectionRecipe(flip=0, light=0, copy_paste=1.0), preprocess, data)
    torch.manual_seed(0)
    counts = [len(change(data[1]).target["boxes"]) for _ in range(60)]  # the black image has no objects
    assert 6 < sum(counts) < 24  # a quarter: the other image is drawn, and its object selected
    for _ in range(20):
        out = change(data[1])
        if len(out.target["boxes"]):
            assert out.target["boxes"].tolist() == [[10, 10, 20, 20]]
            assert (out.image[10:20, 10:20] == 100).all()
            assert out.image.sum() == 100 * 100 * 3
    never = Augment(DetectionRecipe(flip=0, light=0), preprocess, data)
    assert not any(len(never(data[1]).target["boxes"]) for _ in range(20))


def test_a_picture_that_can_not_be_read_is_not_pasted_from(tmp_path: Path) -> None:
    data = opened(write_coco(tmp_path, [SQUARE]))
    black = data[1]
    change = Augment(DetectionRecipe(flip=0, light=0, copy_paste=1.0), Preprocess(policy="fit", size_hw=HW), data)
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert not any(len(change(black).target["boxes"]) for _ in range(20))


def test_a_detector_trains_on_pasted_pictures(tmp_path: Path) -> None:
    import zoo

    data = write_coco(tmp_path / "data", [SQUARE])
    model = zoo.build("resnet20", task="detection", classes=["square"], image_size=40, fpn_channels=8, representation_size=8)
    recipe = DetectionRecipe(epochs=1, batch_size=2, copy_paste=1.0, jitter_min=0.5, jitter_max=2.0, scale_min=0.5, workers=0)
    run = zoo.train(model, f"coco:{data}", recipe=recipe, out=tmp_path / "run", device="cpu")
    assert np.isfinite(run.history[-1]["loss"])
    voc_like = zoo.data.dataset.Dataset("boxes alone", (opened(data).records[0],) * 2, ("square",))
    with pytest.raises(InputError, match=r"copy_paste needs the objects' masks; dataset .* has only boxes"):
        zoo.train(model, [vars_of(sample) for sample in voc_like], recipe=recipe, out=tmp_path / "other", device="cpu")
    assert not (tmp_path / "other").exists()  # before the first step


def vars_of(sample: Sample) -> dict[str, Any]:
    return {"image": sample.image, "target": sample.target}
