"""`demo:scenes`: reproducible, with the right boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detection_data import opened
from zoo.errors import InputError, UnknownNameError


def test_scenes_are_drawn_the_same_every_time() -> None:
    one, again = opened("demo:scenes?split=train&n=6"), opened("demo:scenes?split=train&n=3")
    for first, second in zip(again, one, strict=False):
        assert first.key == second.key
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.target["boxes"], second.target["boxes"])
        assert (first.image.shape, first.image.dtype.name) == ((128, 160, 3), "uint8")
    other = opened("demo:scenes?split=train&n=3&seed=1")
    assert not np.array_equal(other[0].image, again[0].image)
    assert not np.array_equal(opened("demo:scenes?split=test&n=3")[0].image, again[0].image)
    assert len(opened("demo:scenes?n=2")) == 4
    assert opened("demo:scenes").classes == tuple("0123456789")


def test_the_scenes_boxes_are_right() -> None:
    data = opened("demo:scenes?split=test&n=60")
    counts = [len(record.target["boxes"]) for record in data.records]
    assert 0 in counts
    assert max(counts) == 5
    for record in data.records:
        boxes = record.target["boxes"]
        assert bool((boxes[:, :2] >= 0).all())
        assert bool((boxes[:, 2:] <= (160, 128)).all())
        assert bool((boxes[:, 2:] - boxes[:, :2] >= 6).all())
        assert set(record.target["labels"].tolist()) <= set(range(10))
    # the ink differs from its surroundings: contrast is lower outside the box of the image's only digit than inside
    alone = next(sample for sample, count in zip(data, counts, strict=True) if count == 1)
    left, top, right, bottom = (int(side) for side in alone.target["boxes"][0])
    background = np.median(alone.image.reshape(-1, 3), axis=0)
    difference = np.abs(alone.image - background).sum(2)
    outside = difference.copy()
    outside[top:bottom, left:right] = 0
    assert difference[top:bottom, left:right].mean() > 2 * outside[outside > 0].mean()


def test_the_splits_share_no_digit() -> None:
    from zoo.tasks.detection.datasets.scenes import _scans

    train, test = ({scan.tobytes() for scan, _ in _scans(split)} for split in ("train", "test"))
    assert len(_scans("train")) + len(_scans("test")) == 1797
    assert not train & test


@pytest.mark.parametrize(("text", "kind", "message"), [
    ("demo:scene", UnknownNameError, r"unknown demo data of detection 'scene'. Nearest: scenes"),
    ("demo:scenes?split=val", InputError, r"split is 'val'; expected train or test"),
    ("demo:scenes?n=0", InputError, r"n is '0'; expected a whole number, 1 or more"),
    ("demo:scenes?seed=x", InputError, r"seed is 'x'; expected a whole number, 0 or more"),
])  # fmt: skip
def test_wrong_scenes_are_refused(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        opened(text)
