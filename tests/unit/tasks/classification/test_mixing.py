"""mixup, CutMix and label smoothing: outputs are mixtures of the inputs, with targets in the same proportions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_training import RECIPE, coloured, fresh
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.task.contract import get_task
from zoo.tasks.classification.augment import Augment
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.training.train import train

TARGETS = torch.tensor([0, 1, 2, 3])


def flat() -> ImageBatch:
    """Return four images; the n-th has the value n / 4 everywhere."""
    pixels = torch.arange(4).view(4, 1, 1, 1).mul(64).to(torch.uint8).expand(4, 3, 16, 16).contiguous()
    return ImageBatch(pixels, ((16, 16),) * 4, ((16, 16),) * 4)


def mixed(recipe: ClassificationRecipe, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    images, targets = get_task("classification").data.mix(recipe, flat(), TARGETS, 4)
    return images.pixels, targets


def test_nothing_to_mix_leaves_everything_as_it_is() -> None:
    pixels, targets = mixed(ClassificationRecipe(), 0)
    assert torch.equal(pixels, flat().pixels)
    assert targets is TARGETS


@pytest.mark.parametrize("recipe", [ClassificationRecipe(mixup=1.0), ClassificationRecipe(cutmix=1.0)])
def test_targets_are_the_shares_of_the_pictures(recipe: ClassificationRecipe) -> None:
    """The mean of a mixture of flat images is the mixture of their values."""
    values = torch.arange(4) * 64 / 255
    for seed in range(20):
        pixels, targets = mixed(recipe, seed)
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        torch.testing.assert_close(pixels.mean((1, 2, 3)), targets @ values)


def test_mixup_blends_and_cutmix_pastes() -> None:
    blended = torch.cat([mixed(ClassificationRecipe(mixup=1.0), seed)[0] for seed in range(10)])
    assert all(len(picture.unique()) == 1 for picture in blended)
    pasted = torch.cat([mixed(ClassificationRecipe(cutmix=1.0), seed)[0] for seed in range(10)])
    assert {round(value * 255) for value in pasted.flatten().tolist()} == {0, 64, 128, 192}
    assert any(len(picture.unique()) == 2 for picture in pasted)


def test_with_both_each_batch_gets_one_of_them() -> None:
    both = ClassificationRecipe(mixup=1.0, cutmix=1.0)
    kinds = {max(len(picture.unique()) for picture in mixed(both, seed)[0]) for seed in range(20)}
    assert kinds == {1, 2}


def test_smoothing_is_that_of_cross_entropy() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    _, targets = mixed(ClassificationRecipe(label_smoothing=0.1), 0)
    torch.testing.assert_close(F.cross_entropy(logits, targets), F.cross_entropy(logits, TARGETS, label_smoothing=0.1))
    _, mixture = mixed(ClassificationRecipe(mixup=0.4, label_smoothing=0.1), 0)
    assert float(mixture.min()) >= 0.1 / 4 - 1e-6
    torch.testing.assert_close(mixture.sum(1), torch.ones(4))


def test_a_run_with_everything_is_the_same_every_time(one_thread: None, tmp_path: Path) -> None:
    recipe = replace(RECIPE, mixup=0.2, cutmix=0.2, label_smoothing=0.1, randaugment=5, erasing=0.3, epochs=4, lr=3e-3)
    first = train(fresh(), coloured(24), None, recipe, tmp_path / "one")
    second = train(fresh(), coloured(24), None, recipe, tmp_path / "two")
    assert first.history == second.history
    assert first.history[0]["loss"] != train(fresh(), coloured(24), None, RECIPE, tmp_path / "plain").history[0]["loss"]


@pytest.mark.parametrize("recipe", [ClassificationRecipe(randaugment=20), ClassificationRecipe(erasing=1.0)])
def test_augmentation_changes_pictures_and_keeps_their_size(recipe: ClassificationRecipe) -> None:
    sample = next(iter(coloured()))
    torch.manual_seed(0)
    out = Augment(Preprocess(size_hw=(16, 16)), replace(recipe, crop_scale=1.0, flip=0.0))(sample)
    assert (out.image.shape, out.image.dtype, out.key, out.target) == (sample.image.shape, sample.image.dtype, sample.key, sample.target)
    assert (out.image != sample.image).any()
