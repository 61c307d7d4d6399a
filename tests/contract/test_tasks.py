"""The contract of every task with every kind of backbone: answers, gradients for every parameter, saving and loading."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.data.dataset import Dataset, Record, Sample
from zoo.models.archive import load, save
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.task.contract import TASKS, get_task
from zoo.task.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

BACKBONES_OF_EVERY_SOURCE = ["resnet20", "test_resnet", "resnet10t", "iresnet18", "inception_resnet_v1", "dlib_resnet29"]
SMALL: dict[str, dict[str, Any]] = {
    "classification": {"image_size": 64},
    "detection": {"image_size": 64, "max_image_size": 96, "score_threshold": 0.0},
    "face": {"image_size": 64, "embedding_size": 16},
}
LARGER = {"inception_resnet_v1": {"image_size": 96}, "dlib_resnet29": {"image_size": 96}}  # their convolutions have no padding
_BOXES = np.array([[8, 8, 40, 40], [30, 20, 60, 56]], np.float32)
TARGETS: dict[str, list[Any]] = {
    "classification": [0, 2, 1, 0],
    "detection": [{"boxes": _BOXES, "labels": np.array([0, 2])}, {"boxes": _BOXES[:0], "labels": np.array([], np.int64)}] * 2,
    "face": [0, 2, 1, 0],
}
CASES = [(task, name) for task in TASKS for name in BACKBONES_OF_EVERY_SOURCE]


def made(task: str, backbone: str) -> Model:
    if task not in SMALL or task not in TARGETS:
        pytest.fail(f"the task {task} has no options or targets in {Path(__file__).name}: add small ones, so that it is tested as well")
    torch.manual_seed(0)
    return build(backbone, task, num_classes=3, **{**SMALL[task], **LARGER.get(backbone, {})})


def images(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 64, 64, generator=generator) for _ in range(count)]


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


@pytest.mark.parametrize(("task", "backbone"), CASES)
def test_losses_in_both_modes_reach_every_parameter(task: str, backbone: str) -> None:
    model = made(task, backbone)
    targets = get_task(task).data.collate_targets(TARGETS[task])
    names = []
    for mode in (True, False):
        model.train(mode).zero_grad()
        losses = model(images(), targets)
        names.append(list(losses))
        assert all(loss.ndim == 0 and bool(loss.isfinite()) for loss in losses.values()), losses
        sum(losses.values()).backward()
        without = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
        assert without == [], f"no gradient in {'training' if mode else 'evaluation'} mode"
        assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters() if parameter.grad is not None)
        assert model.training is mode
    assert names[0] == names[1] != []


@pytest.mark.parametrize(("task", "backbone"), CASES)
def test_what_is_saved_answers_the_same(task: str, backbone: str, tmp_path: Path) -> None:
    model, contract = made(task, backbone), get_task(task)
    with torch.inference_mode():
        answers = contract.answers.split(model(images()))
        loaded = load(save(model, tmp_path / "m"))
        again = contract.answers.split(loaded(images()))
    assert len(answers) == 4
    assert all(equal(first, second) for first, second in zip(answers, again, strict=True))
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata


@pytest.mark.parametrize(("task", "backbone"), CASES)
def test_answers_do_not_depend_on_the_pictures_beside(task: str, backbone: str) -> None:
    model, contract = made(task, backbone), get_task(task)
    with torch.inference_mode():
        together = contract.answers.split(model(images()))[1]
        alone = contract.answers.split(model(images()[1:2]))[0]
    for first, second in zip(_arrays(together), _arrays(alone), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


def _arrays(answer: Any) -> list[Any]:
    """Return an answer's arrays; of a detector's answer, only the ten best, because almost equal scores may be swapped further down."""
    return [answer[name][:10] for name in sorted(answer)] if isinstance(answer, dict) else [answer]


@pytest.mark.parametrize("task", TASKS.names())
def test_predictions_can_be_drawn_and_written(task: str) -> None:
    model, contract = made(task, "resnet20"), get_task(task)
    picture = (images(1)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    with torch.inference_mode():
        (answer,) = contract.answers.split(model([picture]))
    prediction = contract.answers.prediction(answer, picture, "a.png", model.classes)
    assert prediction.key == "a.png"
    assert prediction.to_dict()["key"] == "a.png"
    json.dumps(prediction.to_dict(), allow_nan=False)
    assert prediction.plot().width >= 64


@pytest.mark.parametrize("task", TASKS.names())
def test_metrics_do_not_depend_on_order_batches_or_processes(task: str) -> None:
    model, contract = made(task, "resnet20"), get_task(task)
    full = Dataset("made", tuple(_records(task)), ("0", "1", "2"))
    with torch.inference_mode():
        answers = contract.answers.split(model([torch.from_numpy(sample.image).permute(2, 0, 1) for sample in full]))
    rows = list(zip(answers, (sample.target for sample in full), full.keys, strict=True))

    def metric_of(*batches: Any) -> Any:
        metric = contract.scoring.metric(full, model.classes)
        for batch in batches:
            metric.update(*(list(column) for column in zip(*batch, strict=True)))
        return metric

    whole = metric_of(rows).compute()
    assert contract.scoring.primary_score in whole.scores
    patterns = contract.scoring.score_names or ("*",)
    assert [name for name in whole.scores if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []
    assert metric_of(*([row] for row in reversed(rows))).compute() == whole
    merged = metric_of(rows[1::2])
    merged.merge([metric_of(rows[1::2]).state(), metric_of(rows[::2]).state()])
    assert merged.compute() == whole
    json.dumps([whole.scores, whole.per_class, whole.details], allow_nan=False)


def _records(task: str) -> list[Record]:
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(12)]
    return [Record(f"k{index:02d}", picture, TARGETS[task][index % 4]) for index, picture in enumerate(pictures)]


@pytest.mark.parametrize("task", TASKS.names())
def test_a_task_declares_itself(task: str) -> None:
    contract = get_task(task)
    assert contract.name == task
    assert issubclass(contract.data.recipe, Recipe)
    contract.data.recipe()  # the defaults must be valid
    assert contract.parse_options({}) == contract.parse_options({})
    assert len(contract.data.schemes) > 0
    levels = [len(BACKBONES[name].levels) for name in BACKBONES_OF_EVERY_SOURCE]
    assert min(levels) >= contract.building.min_levels


@pytest.mark.parametrize("task", TASKS.names())
def test_augmentation_keeps_the_sample_contract_and_the_key(task: str) -> None:
    contract = get_task(task)
    model = made(task, "resnet20")
    augment = contract.data.augment(contract.data.recipe(), model.preprocess, Dataset("records", tuple(_records(task))))
    torch.manual_seed(0)
    for record in _records(task):
        before = record.load()
        after: Sample = augment(before)
        assert after.key == record.key
        assert after.image.dtype == np.uint8
        assert after.image.ndim == 3
        assert after.image.shape[2] == 3
        contract.data.collate_targets([after.target])
        assert np.array_equal(before.image, record.load().image), "the original was changed in place"
