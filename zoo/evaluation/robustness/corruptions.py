"""The fifteen common corruptions at five severities, generated on the fly: Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261.

The formulas and constants are the published ones. The constants are those of CIFAR-10-C for images of up to 32 pixels on the short side,
and those of ImageNet-C from 224 pixels. In between, they are interpolated by the logarithm of the short side. Scores aren't comparable with
published ImageNet-C scores: the images and the random noise are different, corrupted images aren't saved as JPEG as in ImageNet-C, and
frost, elastic_transform, glass_blur and motion_blur differ from the original as documented in their functions.

Lengths are in pixels of the original image, as is usual for detection (Michaelis et al. 2019, arXiv:1907.07484). Images much larger than
the model's input are scaled down after the corruption, so they are affected less.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from zoo.data.dataset import Dataset, Image, Record
from zoo.errors import InputError
from zoo.evaluation.robustness.kinds import CORRUPTIONS, SEVERITIES
from zoo.images.decoding import Decoding


def corrupt(image: Image, name: str, severity: int, *, seed: int = 0, key: str = "") -> Image:
    """Corrupt an image.

    The result is deterministic. Random numbers depend only on the seed, key, name and severity.

    Args:
        image: image [H, W, 3] uint8, RGB, of any size.
        name: name of the corruption, a key in `CORRUPTIONS`.
        severity: integer from 1 (slight) to 5 (severe).
        seed: random seed.
        key: key of the image. Images with different keys receive different noise.

    Returns:
        The corrupted image [H, W, 3] uint8, RGB, as a new array. Objects stay in place, so boxes remain valid. Only elastic_transform
        moves them, on average by less than 2 % of the short side.

    Raises:
        UnknownNameError: the corruption is unknown.
        InputError: the severity, or the shape or type of the array, is invalid.

    Example:
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> int(corrupt(grey, "brightness", 5).mean())
        204
    """
    kind = CORRUPTIONS[name]
    check_severity(severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"corrupt: the image {key!r} is {image.dtype} of shape {image.shape}; expected uint8 [H, W, 3], RGB")
    pixels = image.astype(np.float32) / np.float32(255)
    constants = kind.constants(severity, (image.shape[0], image.shape[1]))
    result = kind.apply(pixels, constants, _generator(seed, key, name, severity))
    return np.round(np.clip(result, 0, 1) * 255).astype(np.uint8)


def corrupted(dataset: Dataset, name: str, severity: int, *, seed: int = 0) -> Dataset:
    """Return a dataset whose images are decoded at full size and corrupted when they are read; the arguments are those of `corrupt`.

    Keys, targets and classes are unchanged.
    """
    CORRUPTIONS[name]  # raises an error for an unknown name here instead of in a worker process
    check_severity(severity)
    records = tuple(replace(record, source=Corrupted(record, name, severity, seed)) for record in dataset.records)
    return replace(dataset, name=f"{dataset.name} with {name} of severity {severity}", records=records)


@dataclass(frozen=True)
class Corrupted:
    """Image source of a corrupted record: a picklable callable that reads the clean record's image and corrupts it."""

    record: Record
    name: str
    severity: int
    seed: int

    def __call__(self) -> Image:
        """Read the clean image and corrupt it; raise an `ImageError` if it can't be read."""
        image, _ = self.record.picture(Decoding())
        return corrupt(image, self.name, self.severity, seed=self.seed, key=self.record.key)


def check_severity(severity: int) -> None:
    """Raise an `InputError` unless a severity is an integer from 1 to 5."""
    if severity not in SEVERITIES:
        raise InputError(f"corruption: severity is {severity}; expected 1, 2, 3, 4 or 5")


def _generator(seed: int, key: str, name: str, severity: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{severity}\0{name}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
