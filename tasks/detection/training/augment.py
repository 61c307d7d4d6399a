"""What a training picture goes through before preprocessing; its boxes, and what is known of each, go with it."""

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
    """Bring a picture to its training size, nearer or farther away, mirror it, change its light, and paste objects of others over it."""

    def __init__(self, recipe: DetectionRecipe, preprocess: Preprocess, dataset: Dataset) -> None:
        """Set up the transforms from the recipe.

        Args:
            recipe: which, and how much.
            preprocess: the model's: pictures come out in the size that it scales them to.
            dataset: what objects are pasted from.

        Raises:
            InputError: objects are to be pasted, and the data has no masks.
        """
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
        """Return the sample with its picture and boxes changed; what else is known of the boxes stays, but for their old places."""
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
            return scene  # the loader says so when it comes to this picture itself
        return paste(scene, self._scene(other, masked=True))
