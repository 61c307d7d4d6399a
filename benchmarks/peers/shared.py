"""What the rows of a run share: the pictures, the networks of random weights, and the zoo's models of the same, compiled once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import zoo
from zoo.benchmarks.peers import ours, timm, torchvision
from zoo.benchmarks.photos import photo_files
from zoo.data.dataset import Sample
from zoo.images import decoding as images
from zoo.images.decoding import Image
from zoo.images.preprocess import ImageBatch, Preprocess, as_float
from zoo.models.model import Model

Precision = Literal["fp32", "bf16", "int8"]

_CLASSES = 1000
_COMPARED = 4  # photos that a compiled detector is compared, and calibrated, on: each takes eager float32 seconds


@dataclass
class Setting:
    """What all rows of a run share.

    Attributes:
        data: the folder of `photos` and `portraits`.
        threads: that everybody computes with.
        has_bf16: whether the processor has it.
        scratch: an empty folder, for links to pictures.
        backbone: of the classifiers.
        size: of their pictures, in pixels.
    """

    data: Path
    threads: int
    has_bf16: bool
    scratch: Path
    backbone: str = "resnet50"
    size: int = 224

    @property
    def half(self) -> Precision:
        """bf16, or fp32 where there is none."""
        return "bf16" if self.has_bf16 else "fp32"

    def files(self, name: str) -> list[Path]:
        """Return the pictures of a folder of the data.

        Raises:
            InputError: there is no such folder.
            DataError: it is empty.
        """
        return photo_files(self.data / name, f"say with --data where the folder of {name!r} is")

    @cached_property
    def photos(self) -> list[Image]:
        """The photos, decoded."""
        return [images.read(path) for path in self.files("photos")]

    @cached_property
    def preprocess(self) -> Preprocess:
        """What becomes of a picture before a classifier, on all sides."""
        return zoo.build(self.backbone, num_classes=_CLASSES, image_size=self.size, say=lambda text: None).preprocess

    @cached_property
    def _prepared(self) -> ImageBatch:
        return self.preprocess.batch(self.photos)

    @cached_property
    def classifier(self) -> tuple[nn.Module, Model]:
        """Random weights: timm's network, and the zoo's model of the same."""
        network = timm.random_network(self.backbone, self.pixels(len(self.photos)))
        return network, ours.with_weights(self.backbone, "classification", network, _CLASSES, self.size)

    @cached_property
    def _classifiers(self) -> dict[Precision, Model]:
        return {}

    def compiled_classifier(self, precision: Precision) -> Model:
        """Return the classifier compiled, once; the photos come with their classes, so that scores are compared too."""
        if precision not in self._classifiers:
            samples = [Sample(photo, number, str(number)) for number, photo in enumerate(self.photos)]
            self._classifiers[precision] = ours.compiled(self.classifier[1], precision, samples)
        return self._classifiers[precision]

    def pixels(self, count: int) -> Tensor:
        """Return so many photos as networks take them: normalised float32 [count, 3, H, W]."""
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (self.preprocess.mean, self.preprocess.std))
        return (as_float(self.batch(count).pixels) - mean) / deviation

    def batch(self, count: int) -> ImageBatch:
        """Return so many photos as the zoo takes them, uint8; each again where there are too few."""
        whole = self._prepared
        places = [place % len(whole) for place in range(count)]
        return ImageBatch(
            whole.pixels[places],
            tuple(whole.sizes_hw[place] for place in places),
            tuple(whole.original_sizes_hw[place] for place in places),
        )

    @cached_property
    def detector(self) -> tuple[nn.Module, Model, Image]:
        """Random weights: torchvision's detector, the zoo's of the same, and a photo of 800×1066."""
        photo = np.asarray(cv2.resize(self.photos[0], (1066, 800), interpolation=cv2.INTER_AREA), np.uint8)
        network = torchvision.random_detector(as_float(torch.from_numpy(photo).permute(2, 0, 1)))
        return network, ours.with_weights("resnet50", "detection", network, torchvision.CLASSES, 800), photo

    def compiled_detector(self, precision: Precision) -> Model:
        """Return the detector compiled, calibrated on a few photos without truth."""
        return ours.compiled(self.detector[1], precision, self.links("few", self.files("photos")[:_COMPARED]))

    def links(self, name: str, files: Sequence[Path]) -> Path:
        """Return a folder of these files."""
        folder = self.scratch / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for path in files:
                (folder / path.name).symlink_to(path.resolve())
        return folder
