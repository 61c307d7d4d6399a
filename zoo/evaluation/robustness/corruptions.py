"""The fifteen common corruptions at five severities, made offline: Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261.

The formulas and constants are the published ones: those of CIFAR-10-C for pictures of up to 32 pixels on the short side, those of
ImageNet-C from 224 on, and between the two by the logarithm of the side. Scores on them are nobody's "ImageNet-C" score: the
pictures are generated here, other noise is drawn, nothing is saved as a JPEG in between (those of ImageNet-C are), and frost,
elastic_transform, glass_blur and motion_blur differ as their functions say.

Lengths are pixels of the picture as it is in its file, as is usual for detection (Michaelis et al. 2019, arXiv:1907.07484): a photo
far larger than the model's input is scaled down afterwards, and suffers less.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from zoo.data.dataset import Dataset, Image, Record
from zoo.errors import InputError
from zoo.evaluation.robustness.definition import CORRUPTIONS as CORRUPTIONS
from zoo.evaluation.robustness.definition import SEVERITIES as SEVERITIES
from zoo.images.decoding import Decoding


def corrupt(image: Image, name: str, severity: int, *, seed: int = 0, key: str = "") -> Image:
    """Corrupt one picture.

    The same arguments give the same picture; what is random depends on seed, key, name and severity, and on nothing else.

    Args:
        image: [H, W, 3] uint8, RGB, of any size.
        name: one of `CORRUPTIONS`.
        severity: 1 (slight) to 5 (severe).
        seed: of everything that is random.
        key: the picture's; pictures with different keys get different noise.

    Returns:
        [H, W, 3] uint8, RGB; a new array. What was at a place stays there: elastic_transform alone moves things, and on average by
        less than 2 % of the short side.

    Raises:
        UnknownNameError: no corruption of this name.
        InputError: another severity, or an array that is no such picture.

    Example:
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> int(corrupt(grey, "brightness", 5).mean())
        204
    """
    kind = CORRUPTIONS[name]
    check_severity(severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"corrupt: the picture {key!r} is {image.dtype} of shape {image.shape}; expected uint8 [H, W, 3], RGB")
    pixels = image.astype(np.float32) / np.float32(255)
    constants = kind.constants(severity, (image.shape[0], image.shape[1]))
    result = kind.apply(pixels, constants, _generator(seed, key, name, severity))
    return np.round(np.clip(result, 0, 1) * 255).astype(np.uint8)


def corrupted(dataset: Dataset, name: str, severity: int, *, seed: int = 0) -> Dataset:
    """Return the same data with its pictures corrupted when they are read; keys, targets and classes stay.

    Args:
        dataset: open data; every picture is decoded whole.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: as for `corrupt`.

    Raises:
        UnknownNameError: no corruption of this name.
        InputError: another severity.
    """
    CORRUPTIONS[name]  # a mistake is told here, not by a worker process
    check_severity(severity)
    records = tuple(replace(record, source=Corrupted(record, name, severity, seed)) for record in dataset.records)
    return replace(dataset, name=f"{dataset.name} with {name} of severity {severity}", records=records)


@dataclass(frozen=True)
class Corrupted:
    """The source of a corrupted record: a function that worker processes can be sent.

    Attributes:
        record: the clean one.
        name: of the corruption.
        severity: 1 to 5.
        seed: of everything that is random.
    """

    record: Record
    name: str
    severity: int
    seed: int

    def __call__(self) -> Image:
        """Read the clean picture and corrupt it.

        Raises:
            ImageError: it can't be read.
        """
        image, _ = self.record.picture(Decoding())
        return corrupt(image, self.name, self.severity, seed=self.seed, key=self.record.key)


def check_severity(severity: int) -> None:
    """Refuse what is none of the five severities.

    Raises:
        InputError: naming it.
    """
    if severity not in SEVERITIES:
        raise InputError(f"corruption: severity is {severity}; expected 1, 2, 3, 4 or 5")


def _generator(seed: int, key: str, name: str, severity: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{severity}\0{name}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
