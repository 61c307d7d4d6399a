"""Tests of the loss, the targets, and the mixing of multi-label batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import zoo
from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import Balanced
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.task.contract import get_task
from zoo.tasks.classification.multilabel.head import masked_cross_entropy
from zoo.tasks.classification.multilabel.targets import as_target
from zoo.tasks.classification.options import ClassificationRecipe

NAN = float("nan")
MULTI = get_task("classification", {"multi_label": True})


def random_batch(seed: int, size: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(size, classes, generator=generator), torch.randint(2, (size, classes), generator=generator).float()


def test_without_unknown_labels_it_is_the_mean_binary_cross_entropy() -> None:
    logits, targets = random_batch(0)
    assert torch.allclose(masked_cross_entropy(logits, targets), F.binary_cross_entropy_with_logits(logits, targets))


@pytest.mark.parametrize("options", [{}, {"classifier": "knn"}])
@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (torch.tensor([0, 5]), r"targets are int64 \[2\], such as \[0, 5\]; a model with one class .* classes from 0 to 2, or"),
        (torch.tensor([0, -1]), r"classes from 0 to 2"),
        (torch.tensor([0]), r"int64 \[1\], such as \[0\]; .* expects int64 \[2\]"),
        (torch.tensor([[1.0, 1, 0], [1, 0, 0]]), r"float32 \[2, 3\], .* that sum to 1\. .* build the model with multi_label=True"),
        (torch.tensor([[1.0, 0, NAN], [1, 0, 0]]), r"probabilities \[2, 3\] that sum to 1"),
        (torch.tensor([[1, 0, 0], [1, 0, 0]]), r"int64 \[2, 3\], such as \[1, 0, 0, 1\]"),
    ],
)
def test_a_model_with_one_class_per_image_refuses_other_targets(options: dict[str, Any], targets: torch.Tensor, said: str) -> None:
    model = zoo.build("resnet20", num_classes=3, **options)
    if options:
        model.head.remember(torch.rand(4, 64), torch.tensor([0, 1, 2, 0]))  # type: ignore[operator]
    with pytest.raises(InputError, match=said):
        model(torch.rand(2, 3, 32, 32), targets)
    soft = torch.tensor([[0.2, 0.3, 0.5], [1, 0, 0]])
    assert model(torch.rand(2, 3, 32, 32), soft)["loss_classifier"].isfinite()


@pytest.mark.parametrize("value", [2.0, -1.0])
def test_a_multi_label_model_refuses_other_values(value: float) -> None:
    model = zoo.build("resnet20", num_classes=3, multi_label=True)
    with pytest.raises(InputError, match=r"targets are float32 \[1, 3\]; a multi-label model expects float32 \[1, 3\]: 1, 0 or NaN"):
        model(torch.rand(1, 3, 32, 32), torch.tensor([[1, value, NAN]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_removing_a_third_of_the_labels_does_not_change_the_expected_loss(seed: int) -> None:
    logits, targets = random_batch(seed, size=3, classes=3)
    whole = masked_cross_entropy(logits.double(), targets.double())
    # the expectation over all 84 ways to remove three of nine labels, not an estimate
    ways = torch.combinations(torch.arange(9), 3)
    losses = []
    for removed in ways:
        known = targets.double().flatten().clone()
        known[removed] = NAN
        losses.append(masked_cross_entropy(logits.double(), known.view(3, 3)))
    assert torch.stack(losses).mean() == pytest.approx(float(whole), abs=1e-12)


def test_an_unknown_label_has_no_gradient_and_the_others_share_the_mean() -> None:
    logits, targets = random_batch(1, 2, 2)
    logits.requires_grad_()
    targets[0, 1] = NAN
    masked_cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
    expected = (torch.sigmoid(logits.detach()) - targets.nan_to_num()) / 3
    expected[0, 1] = 0
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_without_known_labels_has_the_loss_0_and_gradients_of_0(dtype: torch.dtype) -> None:
    model = zoo.build("resnet20", classes=["a", "b"], multi_label=True).train()
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        losses = model(torch.rand(2, 3, 32, 32), torch.full((2, 2), NAN))
    assert losses["loss_classifier"].dtype == torch.float32
    assert losses["loss_classifier"] == 0
    losses["loss_classifier"].backward()
    assert torch.equal(model.head.fc.weight.grad, torch.zeros(2, 64))  # type: ignore[union-attr,arg-type]


def test_the_model_answers_logits_and_wants_a_number_per_class() -> None:
    model = zoo.build("resnet20", classes=["a", "b", "c"], multi_label=True)
    images = torch.rand(2, 3, 32, 32)
    assert model(images).shape == (2, 3)
    for targets in (torch.tensor([0, 2]), torch.zeros(2, 2), torch.zeros(2, 3, dtype=torch.int64)):
        with pytest.raises(InputError, match=r"targets are .*; a multi-label model expects float32 \[2, 3\]: 1, 0 or NaN"):
            model(images, targets)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(InputError, match="classifier is 'knn', which predicts one class per image; multi_label needs 'linear'"):
        zoo.build("resnet20", num_classes=2, multi_label=True, classifier="knn")


@pytest.mark.parametrize(
    ("value", "expected"), [(1, [0, 1, 0]), ([1, 0, None], [1, 0, NAN]), (np.array([True, False, True]), [1, 0, 1]), ([0, 0, 0], [0, 0, 0])]
)
def test_targets(value: object, expected: list[float]) -> None:
    np.testing.assert_array_equal(as_target(value, 3, "k"), np.array(expected, np.float32))
    assert as_target(value, 3, "k").dtype == np.float32


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 0, 2], "k: the target of class 2 is 2; expected 1, 0 or NaN"),
        ([1, -1, 0], "k: the target of class 1 is -1; expected 1, 0 or NaN"),
        ([0.5, 0, 0], "k: the target of class 0 is 0.5"),
        ([1, 0], r"k: its target is of shape \(2,\); expected 3 numbers, one per class"),
        ("cat", "k: its target is 'cat'; expected 3 numbers"),
        (None, "k: its target is None; expected 3 numbers"),
        (3, "k: its class is 3; expected a whole number from 0 to 2"),
        (True, "k: its target is True|k: its target is of shape"),
    ],
)
def test_other_targets_are_named(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_target(value, 3, "k")


def dataset(*targets: object, classes: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    image = np.zeros((32, 32, 3), np.uint8)
    return Dataset("here", tuple(Record(f"{place}.png", image, target) for place, target in enumerate(targets)), classes)


def test_classes_are_reordered_and_those_without_data_are_unknown() -> None:
    moved = MULTI.data.relabel(dataset([1, 0], 1, classes=("x", "y")), [2, 0], ("y", "z", "x"))
    np.testing.assert_array_equal([record.target for record in moved.records], [[0, NAN, 1], [1, NAN, 0]])


def test_labels_collation_and_sampling() -> None:
    assert MULTI.data.labels(np.array([1, NAN, 1], np.float32)) == [0, 2]
    assert MULTI.data.labels(1) == [1]
    targets = [np.array([1, NAN], np.float32), np.array([0, 1], np.float32)]
    collated = MULTI.data.collate_targets(targets)
    assert collated.dtype == torch.float32
    np.testing.assert_array_equal(collated, targets)
    data = dataset([1, 0, 0], [1, 1, 0], [1, 0, NAN])
    sampling = MULTI.data.sampling(ClassificationRecipe(balance="classes"), data, 2, 1)
    assert isinstance(sampling, Balanced)
    assert sampling.labels == ([0], [0, 1], [0])


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_mixing_blends_known_labels_and_leaves_unknown_ones_unknown(way: str) -> None:
    recipe = ClassificationRecipe(**{way: 1.0})  # type: ignore[arg-type]
    images = Preprocess(size_hw=(8, 8)).batch(torch.rand(2, 3, 8, 8))
    targets = torch.tensor([[1.0, 0.0, NAN], [0.0, 0.0, 1.0]])
    torch.manual_seed(1)
    _, mixed = MULTI.data.mix(recipe, images, targets, 3)
    assert torch.isnan(mixed[:, 2]).all()
    assert torch.equal(mixed[:, 1], torch.zeros(2))
    assert mixed[:, 0].sum() == pytest.approx(1)
    assert 0 < float(mixed[0, 0]) < 1


def test_label_smoothing_moves_towards_one_half() -> None:
    targets = torch.tensor([[1.0, 0.0, NAN]])
    smooth = MULTI.data.soften(ClassificationRecipe(label_smoothing=0.1), targets, 3)
    np.testing.assert_allclose(smooth, [[0.95, 0.05, NAN]], rtol=1e-6)
    assert MULTI.data.soften(ClassificationRecipe(), targets, 3) is targets
