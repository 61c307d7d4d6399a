"""Predictions for an image don't depend on the rest of its batch: images of one padded size are computed together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.engines import small_model
from zoo.data.dataset import Sample
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.inference import answers
from zoo.task.head import PooledBatch

pytestmark = pytest.mark.usefixtures("one_thread")

UPRIGHT, LYING = (90, 60), (60, 90)  # a model with sides of 64 to 96 pixels scales them to 96×64 and 64×96


def photos(*sizes_hw: tuple[int, int]) -> list[Any]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes_hw]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Record the shapes of the batches that the detector's backbone gets."""
    model, shapes = small_model("detection"), list[tuple[int, ...]]()
    levels = type(model).levels

    def recorded(self: Any, pixels: Tensor, *way: Any) -> Any:
        shapes.append(tuple(pixels.shape))
        return levels(self, pixels, *way)

    monkeypatch.setattr(type(model), "levels", recorded)
    return shapes


def predicted(model: Any, source: Any, **options: Any) -> list[Any]:
    found: Any = zoo.predict(model, source, **options)
    return [{"boxes": each.boxes, "labels": each.labels, "scores": each.scores} for each in found]


def check_same(found: list[Any], alone: list[Any]) -> None:
    assert len(found) == len(alone)
    for one, other in zip(found, alone, strict=True):
        assert one["labels"].tolist() == other["labels"].tolist()
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=1e-3)
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-5)


def test_pictures_of_one_padded_size_stay_together_and_none_is_padded_further_than_alone() -> None:
    preprocess = Preprocess("fit", (64, 96))
    sizes = [(64, 96), (96, 64), (60, 90), (96, 64)]
    batch = preprocess.collate([torch.full((3, *size), place / 4) for place, size in enumerate(sizes)], [(10, 20)] * 4)
    assert batch.pixels.shape == (4, 3, 96, 96)
    (lying, first), (upright, second) = batch.alike()
    assert (lying, upright) == ([0, 2], [1, 3])
    assert (first.sizes_hw, first.original_sizes_hw) == (((64, 96), (60, 90)), ((10, 20), (10, 20)))
    assert first.pixels.shape == (2, 3, 64, 96)
    assert second.pixels.shape == (2, 3, 96, 64)
    expected = preprocess.collate([torch.zeros(3, 64, 96), torch.full((3, 60, 90), 0.5)], [(10, 20)] * 2)
    assert torch.equal(first.pixels, expected.pixels)
    assert [places for places, _ in batch.alike(most=1)] == [[0], [2], [1], [3]]


def test_a_batch_of_one_size_passes_as_it_is() -> None:
    batch = ImageBatch(torch.rand(2, 3, 50, 70), ((40, 60), (40, 60)), ((4, 6), (40, 60)))
    ((places, part),) = batch.alike()
    assert places == [0, 1]
    assert part is batch


def test_answers_come_in_the_order_of_the_batch(seen: list[tuple[int, ...]]) -> None:
    model, mixed = small_model("detection"), photos(UPRIGHT, LYING, UPRIGHT, (80, 80))
    with torch.inference_mode():
        found = answers(model, model.preprocess.batch(mixed))
        assert seen == [(2, 3, 96, 64), (1, 3, 64, 96), (1, 3, 64, 64)]
        assert all(len(one["labels"]) for one in found)
        check_same(found, [answers(model, model.preprocess.batch([photo]))[0] for photo in mixed])


def test_prediction_and_evaluation_answer_so(seen: list[tuple[int, ...]]) -> None:
    model, mixed = small_model("detection"), photos(LYING, UPRIGHT, LYING)
    found = predicted(model, mixed, batch_size=3)
    assert seen == [(2, 3, 64, 96), (1, 3, 96, 64)]
    check_same(found, [predicted(model, photo)[0] for photo in mixed])
    seen.clear()
    truth = {"boxes": np.array([(1, 1, 20, 20)], np.float32), "labels": np.array([0])}
    samples = [Sample(photo, truth, str(number)) for number, photo in enumerate(mixed)]
    zoo.evaluate(model, samples, batch_size=3, workers=0, replicates=0)
    assert seen == [(2, 3, 64, 96), (1, 3, 96, 64)]


def test_an_engine_is_given_pictures_of_several_sizes_one_by_one_so_that_it_sees_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, shapes = zoo.compile(small_model("detection"), engine="eager", precision="fp32"), list[tuple[int, ...]]()
    forward = compiled.forward

    def recorded(images: Any) -> Any:
        shapes.append(tuple(images.pixels.shape))
        return forward(images)

    monkeypatch.setattr(compiled, "forward", recorded)
    mixed = photos(UPRIGHT, LYING, UPRIGHT)
    found = answers(compiled, compiled.preprocess.batch(mixed))
    assert shapes == [(1, 3, 96, 64), (1, 3, 96, 64), (1, 3, 64, 96)]
    check_same(found, [answers(compiled, compiled.preprocess.batch([photo]))[0] for photo in mixed])
    shapes.clear()
    answers(compiled, compiled.preprocess.batch(photos(LYING, LYING)))
    assert shapes == [(2, 3, 64, 96)]


def test_features_are_answered_as_one_batch() -> None:
    model = small_model("classification")
    rows = torch.rand(5, model.backbone.levels[-1].channels)
    with torch.inference_mode():
        found = answers(model, PooledBatch(rows))
        assert len(found) == 5
        np.testing.assert_allclose(np.stack(found), model(PooledBatch(rows)).numpy(), rtol=1e-5)
