"""Detections of exports with one graph equal those of eager for real images of many sizes, alone and in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.engines import KEEPING
from tests.unit.compilation.whole_graphs import confident, whole
from zoo.benchmarks.single_graph import Difference, Row, batches_of, differences, spread
from zoo.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("engine", KEEPING)
def test_answers_for_coco_are_those_of_eager(engine: str, shared_data: Path) -> None:
    batches = list(batches_of(shared_data / "coco-mini", 64))
    sizes = {image.shape for batch in batches for image in batch}
    assert (len(sizes), {len(batch) for batch in batches}) == (20, {1, 2, 3, 4})
    assert sum(map(len, batches)) > 32, "all images of coco-mini"
    model = spread(confident(), batches[0][0])
    with torch.inference_mode():
        wanted = [model(batch) for batch in batches]
    found = differences(wanted, whole(model, engine), batches)
    assert found.detections > 1000
    assert found.met, found


def answer(*detections: tuple[float, float, int]) -> dict[str, Any]:
    """Return detections, given by their left edge, score and class."""
    boxes = torch.tensor([[left, 0.0, 50.0, 50.0] for left, _, _ in detections]).reshape(-1, 4)
    return {
        "boxes": boxes,
        "scores": torch.tensor([each[1] for each in detections]),
        "labels": torch.tensor([each[2] for each in detections]),
    }


def test_detections_are_paired_whatever_their_order() -> None:
    wanted, found = answer((1, 0.9, 0), (20, 0.5, 1)), answer((20.04, 0.50005, 1), (1, 0.9, 0))
    result = differences([[wanted]], lambda batch: [found], [[np.zeros((1, 1, 3), np.uint8)]])  # type: ignore[arg-type]
    assert (result.detections, result.unpaired, result.met) == (2, 0, True)
    assert (result.box, result.score) == pytest.approx((0.04, 5e-5), rel=0.01)


@pytest.mark.parametrize(
    ("found", "unpaired"),
    [
        (answer((1, 0.9, 0)), 1),
        (answer((1, 0.9, 0), (20, 0.5, 2)), 2),
        (answer((1, 0.9, 0), (20, 0.5, 1), (30, 0.1, 1)), 1),
        (answer((1, 0.9, 0), (20.06, 0.5, 1)), 0),
        (answer((1, 0.9, 0), (20, 0.5002, 1)), 0),
    ],
)
def test_other_detections_are_not_equal(found: dict[str, Any], unpaired: int) -> None:
    result = Difference()
    result.add(answer((1, 0.9, 0), (20, 0.5, 1)), found)
    assert (result.unpaired, result.met) == (unpaired, False)


def test_nothing_compared_is_not_equal() -> None:
    assert not Difference().met
    equal = Difference(1)
    assert Row("openvino", "fp32", 1.0, 1.0, 1.15, 1.0, 1.0, equal, Difference(1, 1)).met
    assert not Row("openvino", "fp32", 1.0, 1.0, 1.16, 1.0, 1.0, equal, equal).met
    assert not Row("openvino", "fp32", 1.0, 1.0, 1.0, 1.0, 1.0, Difference(), equal).met


def test_batches_have_twenty_sizes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no images \(\*.jpg\); pass --data"):
        list(batches_of(tmp_path, 64))
    for place in range(3):
        cv2.imwrite(str(tmp_path / f"{place}.jpg"), np.full((40, 50, 3), 100 * place, np.uint8))
    batches = list(batches_of(tmp_path, 64))
    assert [len(batch) for batch in batches] == [1, 2, 3, 4] * 5
    assert len({image.shape for batch in batches for image in batch}) == 20
    assert [int(image.mean()) for batch in batches[:3] for image in batch] == [0, 100, 200, 0, 100, 200]
