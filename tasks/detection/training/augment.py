"""Augmentation of training images, together with their boxes and annotations, before preprocessing."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from zoo.data.dataset import Dataset, Sample
from zoo.errors import ImageError
from zoo.images.preprocess import Preprocess
from zoo.tasks.detection.data.outlines import Outlines
from zoo.tasks.detection.data.scene import Scene
from zoo.tasks.detection.training.copy_paste import paste
from zoo.tasks.detection.training.jitter import Jitter
from zoo.tasks.detection.training.recipe import DetectionRecipe


class Augment:
    """Random transformation of a training sample: scale jitter, flips, brightness and contrast, and copy-paste from the dataset."""

    def __init__(self, recipe: DetectionRecipe, preprocess: Preprocess, dataset: Dataset) -> None:
        steps: list[torch.nn.Module] = []
        if recipe.flip > 0:
            steps.append(v2.RandomHorizontalFlip(recipe.flip))
        if recipe.flip_vertical > 0:
            steps.append(v2.RandomVerticalFlip(recipe.flip_vertical))
        if recipe.light > 0:
            steps.append(v2.ColorJitter(brightness=recipe.light, contrast=recipe.light))
        self._transform = v2.Compose(steps) if steps else v2.Identity()
        self._jitter = Jitter(preprocess, recipe.jitter_min, recipe.jitter_max)
        self._copy_paste, self._dataset = recipe.copy_paste, dataset
        self._outlines = Outlines.of(dataset) if recipe.copy_paste > 0 else None

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with a transformed image and target. The exact annotated coordinates (`annotated`) are dropped."""
        pastes = self._copy_paste > 0 and float(torch.rand(())) < self._copy_paste
        scene = self._scene(sample, pastes)
        if pastes:
            scene = self._pasted(scene)
        return scene.into(sample)

    def _scene(self, sample: Sample, masked: bool) -> Scene:
        size_hw = (sample.image.shape[0], sample.image.shape[1])
        masks = self._outlines.masks(sample.target, size_hw) if masked and self._outlines is not None else None
        return self._jitter(Scene.of(sample, masks)).changed(self._transform)

    def _pasted(self, scene: Scene) -> Scene:
        record = self._dataset.records[int(torch.randint(len(self._dataset), ()))]
        try:
            other = record.load()
        except ImageError:
            return scene  # the loader reports the error when it loads this image as a sample
        return paste(scene, self._scene(other, masked=True))
