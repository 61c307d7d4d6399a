"""Data and models shared by all rows: images, networks with random weights, and the zoo's models with the same weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

import zoo
from zoo.benchmarks.harness.inputs import link_files, photo_files
from zoo.benchmarks.peers import rivals
from zoo.data.dataset import Sample
from zoo.images import decoding
from zoo.images.decoding import Image
from zoo.images.preprocess import ImageBatch, Preprocess, as_float

Precision = Literal["fp32", "bf16", "int8"]

_CLASSES = 1000
_COMPARED = 4  # number of photos for the agreement check and calibration of a compiled detector; each takes seconds in float32


def with_weights(backbone: str, task: str, network: nn.Module, **options: Any) -> zoo.Model:
    """Build the zoo's model with the weights of another library's network; `options` are those of `zoo.build`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), path)
        return zoo.build(backbone, task, weights=path, say=lambda text: None, **options)


def compiled(model: zoo.Model, precision: Precision, data: object) -> zoo.Compiled:
    """Compile a model with OpenVINO. An error is raised if its predictions disagree with those of the uncompiled float32 model."""
    return zoo.compile(model, engine="openvino", precision=precision, data=data)


@dataclass
class Setting:
    """Settings, data and models shared by all rows."""

    data: Path  # folder that contains `photos` and `portraits`
    threads: int  # number of threads of every library
    has_bf16: bool  # whether the processor supports bf16
    scratch: Path  # empty folder for links to images
    backbone: str = "resnet50"  # backbone of the classifiers
    size: int = 224  # height and width of the classifiers' images in pixels
    _classifiers: dict[Precision, zoo.Model] = field(default_factory=dict, init=False)  # compiled classifiers by precision

    @property
    def half(self) -> Precision:
        """Precision "bf16" if the processor supports it, otherwise "fp32"."""
        return "bf16" if self.has_bf16 else "fp32"

    def files(self, name: str) -> list[Path]:
        """Return the image files in the subfolder `name` of the data folder."""
        return photo_files(self.data / name, f"pass the folder that contains {name!r} as --data")

    @cached_property
    def photos(self) -> list[Image]:
        """Decoded images of the folder `photos`."""
        return [decoding.read(path) for path in self.files("photos")]

    @cached_property
    def preprocess(self) -> Preprocess:
        """Preprocessing of the classifiers, the same for all libraries."""
        return zoo.build(self.backbone, num_classes=_CLASSES, image_size=self.size, say=lambda text: None).preprocess

    @cached_property
    def _prepared(self) -> ImageBatch:
        return self.preprocess.batch(self.photos)

    @cached_property
    def classifier(self) -> tuple[nn.Module, zoo.Model]:
        """Network of timm and the zoo's classifier with the same random weights."""
        network = rivals.random_network(self.backbone, self.pixels(len(self.photos)))
        return network, with_weights(self.backbone, "classification", network, num_classes=_CLASSES, image_size=self.size)

    def compiled_classifier(self, precision: Precision) -> zoo.Model:
        """Return the zoo's compiled classifier. The photos get labels, so that `zoo.compile` also compares scores."""
        if precision not in self._classifiers:
            samples = [Sample(photo, number, str(number)) for number, photo in enumerate(self.photos)]
            self._classifiers[precision] = compiled(self.classifier[1], precision, samples)
        return self._classifiers[precision]

    def pixels(self, count: int) -> Tensor:
        """Return a batch of photos as the input of a network: normalised float32 [count, 3, H, W]."""
        pixels: Tensor = normalize(as_float(self.batch(count).pixels), list(self.preprocess.mean), list(self.preprocess.std))
        return pixels

    def batch(self, count: int) -> ImageBatch:
        """Return a batch of `count` preprocessed photos, uint8. Photos are repeated if there are fewer than `count`."""
        whole = self._prepared
        places = [place % len(whole) for place in range(count)]
        sizes = ([every[place] for place in places] for every in (whole.sizes_hw, whole.original_sizes_hw))
        return ImageBatch(whole.pixels[places], *map(tuple, sizes))

    @cached_property
    def detector(self) -> tuple[nn.Module, zoo.Model, Image]:
        """Detector of torchvision, the zoo's detector with the same random weights, and a photo of 800×1066 pixels (height×width)."""
        photo = np.asarray(cv2.resize(self.photos[0], (1066, 800), interpolation=cv2.INTER_AREA), np.uint8)
        network = rivals.random_detector(as_float(torch.from_numpy(photo).permute(2, 0, 1)))
        return network, with_weights("resnet50", "detection", network, num_classes=rivals.CLASSES, image_size=800), photo

    def compiled_detector(self, precision: Precision) -> zoo.Model:
        """Return the zoo's compiled detector, calibrated on a few photos without ground truth."""
        return compiled(self.detector[1], precision, self.links("few", self.files("photos")[:_COMPARED]))

    def links(self, name: str, files: Sequence[Path]) -> Path:
        """Return a folder of links to files, which is created on the first call with this name."""
        folder = self.scratch / name
        return folder if folder.is_dir() else link_files(files, folder)
