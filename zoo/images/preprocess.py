"""Preprocess decoded images into network inputs. This is the only implementation, and its settings are stored with every model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from zoo.errors import InputError

Picture = NDArray[np.uint8] | Tensor
STEP = 32  # pixels; the sides of padded images are multiples of this, the largest stride of a feature pyramid
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageBatch:
    """Batch of preprocessed images, ready for the backbone.

    Attributes:
        pixels: [B, 3, H, W], RGB, uint8 0–255 or float 0–1, not normalised, padded at the right and bottom.
        sizes_hw: height and width of each image within `pixels`.
        original_sizes_hw: height and width before preprocessing; predictions are returned in these coordinates.
    """

    pixels: Tensor
    sizes_hw: tuple[tuple[int, int], ...]
    original_sizes_hw: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def to(self, device: torch.device | str) -> ImageBatch:
        """Return the batch with its pixels on `device`."""
        return ImageBatch(self.pixels.to(device), self.sizes_hw, self.original_sizes_hw)

    def alike(self, most: int | None = None) -> Iterator[tuple[list[int], ImageBatch]]:
        """Split the batch into groups of images with the same padded size, so that no image is padded more than it would be alone.

        Args:
            most: maximum number of images per group; None for no limit.

        Yields:
            The positions of a group's images in this batch, and the group as a batch.
        """
        if len(set(self.sizes_hw)) == 1:
            yield list(range(len(self))), self
            return
        places: dict[tuple[int, int], list[int]] = {}
        for place, size in enumerate(self.sizes_hw):
            places.setdefault(_padded_hw([size]), []).append(place)
        for (height, width), several in places.items():
            count = most or len(several)
            for first in range(0, len(several), count):
                part = several[first : first + count]
                sizes, originals = (tuple(all_of[place] for place in part) for all_of in (self.sizes_hw, self.original_sizes_hw))
                yield part, ImageBatch(self.pixels[part, :, :height, :width], sizes, originals)


@dataclass(frozen=True)
class Preprocess:
    """Size policy, interpolation, crop and normalisation of a model.

    Attributes:
        policy: "crop" scales the shorter side to size / crop_pct and crops the centre (ImageNet evaluation). "squash" scales both sides to
            `size_hw`. "fit" keeps the aspect ratio and scales the image until its shorter side is `size_hw[0]` or its longer side is
            `size_hw[1]`, whichever comes first (torchvision's Faster R-CNN). "given" doesn't scale images: the model does it.
        size_hw: height and width in pixels. For "fit", they are the size of the shorter side and the maximum size of the longer side.
        crop_pct: fraction of the scaled side that remains after the crop of "crop".
        interpolation: "bilinear" or "bicubic".
        antialias: whether to apply a low-pass filter before shrinking, as PIL does. torchvision's detectors were trained without it.
        mean: mean of the RGB values in 0–1. The model subtracts it.
        std: standard deviation of the RGB values in 0–1. The model divides by it.
        alignment: name of the five-point template that faces are aligned to before preprocessing ("arcface", "dlib", "facenet"); None for
            no alignment. The name is only a record of how the training images were aligned. This class doesn't align faces.
    """

    policy: Literal["crop", "squash", "fit", "given"] = "crop"
    size_hw: tuple[int, int] = (224, 224)
    crop_pct: float = 0.875
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    alignment: str | None = None

    def __post_init__(self) -> None:
        if self.policy not in ("crop", "squash", "fit", "given"):
            raise InputError(f"preprocess: policy is {self.policy!r}; expected 'crop', 'squash', 'fit' or 'given'")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise InputError(f"preprocess: interpolation is {self.interpolation!r}; expected 'bilinear' or 'bicubic'")
        if len(self.size_hw) != 2 or min(self.size_hw) < 1:
            raise InputError(f"preprocess: size_hw is {self.size_hw}; expected a height and a width in pixels, 1 or more")
        if not 0 < self.crop_pct <= 1:
            raise InputError(f"preprocess: crop_pct is {self.crop_pct}; expected a fraction above 0 and at most 1")
        if min(self.std) <= 0:
            raise InputError(f"preprocess: std is {self.std}; expected three numbers above 0")

    @property
    def pads(self) -> bool:
        """Whether the images of a batch can differ in size, so that they are padded to a common size."""
        return self.policy in ("fit", "given")

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """Minimum height and width in pixels for `Decoding`; None if images must be decoded at full size.

        Decoding at a reduced scale smooths an image. A model without antialiasing expects unsmoothed images and therefore needs full size.
        """
        if not self.antialias or self.policy == "given":
            return None
        if self.policy == "squash":
            return self.size_hw
        # the other two policies keep the aspect ratio, so a minimum for the shorter side is enough
        short = self.size_hw[0] if self.policy == "fit" else self.short_side
        return short, short

    @property
    def short_side(self) -> int:
        """Length in pixels to which "crop" scales the shorter side."""
        return math.floor(min(self.size_hw) / self.crop_pct + 1e-6)  # 224 / (224 / 232) is 232, not 231

    def resized_hw(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that an image is scaled to, before any crop, given its height and width."""
        if self.policy == "given":
            return height, width
        if self.policy == "squash":
            return self.size_hw
        if self.policy == "fit":
            scale = min(self.size_hw[0] / min(height, width), self.size_hw[1] / max(height, width))
            # floor, as torch.nn.functional.interpolate does with a scale factor; never below one pixel
            return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        # as in timm and torchvision, the shorter side becomes size / crop_pct, and the longer side is rounded down
        short = self.short_side
        if height <= width:
            return short, max(1, int(short * width / height))
        return max(1, int(short * height / width)), short

    def __call__(self, image: Picture) -> Tensor:
        """Scale and crop one image.

        Args:
            image: [H, W, 3] uint8 array, or [3, H, W] tensor, uint8 0–255 or float 0–1, RGB.

        Returns:
            [3, h, w] tensor in the value range of the input. Under "fit", it is always float 0–1, so that values aren't rounded twice.
        """
        pixels = to_chw(image)
        height, width = pixels.shape[-2:]
        target = self.resized_hw(height, width)
        if self.policy == "fit":
            pixels = as_float(pixels)
        if target != (height, width):
            pixels = tvf.resize(pixels, list(target), tvf.InterpolationMode(self.interpolation), antialias=self.antialias)
        if self.policy == "crop":
            pixels = tvf.center_crop(pixels, list(self.size_hw))
        return pixels

    def batch(self, images: ImageBatch | Tensor | Sequence[Picture]) -> ImageBatch:
        """Convert images in any supported form into a batch.

        An `ImageBatch` is returned unchanged. Under "crop" and "squash", a tensor [B, 3, H, W] isn't scaled either, because the caller has
        chosen its size. All other images are scaled according to the size policy.

        Raises:
            InputError: the images aren't RGB, the batch is empty, or the values appear to be normalised already.
        """
        if isinstance(images, ImageBatch):
            return images
        if isinstance(images, Tensor) and images.ndim == 4 and not self.pads:
            check_pixels(images)
            sizes = tuple([(images.shape[2], images.shape[3])] * len(images))
            return ImageBatch(images, sizes, sizes)
        if len(images) == 0:
            raise InputError("the batch is empty: expected at least one image")
        originals = [to_chw(image) for image in images]
        return self.collate([self(image) for image in originals], [tuple(image.shape[-2:]) for image in originals])

    def collate(self, prepared: Sequence[Tensor], original_sizes_hw: Sequence[tuple[int, ...]]) -> ImageBatch:
        """Stack preprocessed images [3, h, w] into one batch, padded with the mean colour, which becomes 0 after normalisation."""
        sizes = tuple((image.shape[1], image.shape[2]) for image in prepared)
        originals = tuple((size[0], size[1]) for size in original_sizes_hw)
        if len(set(sizes)) == 1 and not self.pads:
            return ImageBatch(torch.stack(list(prepared)), sizes, originals)
        height, width = _padded_hw(sizes)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=prepared[0].device)
        pixels = mean.view(1, 3, 1, 1).repeat(len(prepared), 1, height, width)
        for row, image in zip(pixels, prepared, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = as_float(image)
        return ImageBatch(pixels, sizes, originals)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in the form in which model.json stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """Restore the settings from model.json."""
        arguments: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**arguments)


def _padded_hw(sizes_hw: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the common size of images after padding: multiples of `STEP`."""
    height, width = (math.ceil(max(size[axis] for size in sizes_hw) / STEP) * STEP for axis in (0, 1))
    return height, width


def to_chw(image: Picture) -> Tensor:
    """Return an image as a [3, H, W] tensor, sharing memory where possible."""
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3:
            raise InputError(f"an image tensor has the shape {tuple(image.shape)}; expected [3, H, W], RGB")
        check_pixels(image)
        return image
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"an image array has the shape {array.shape}; expected [H, W, 3], RGB")
    if array.dtype != np.uint8:
        raise InputError(f"an image array has the dtype {array.dtype}; expected uint8, 0 to 255")
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array).permute(2, 0, 1)


def check_pixels(images: Tensor) -> None:
    """Raise an `InputError` unless a tensor contains RGB images, uint8 in 0–255 or float in 0–1 (not normalised)."""
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise InputError(f"images have the shape {tuple(images.shape)}; expected [B, 3, H, W] or [3, H, W], RGB")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise InputError(f"images have the dtype {images.dtype}; expected uint8 (0–255) or float (0–1)")
    if torch.compiler.is_compiling() or images.is_meta or images.numel() == 0:
        return
    low, high = (float(bound) for bound in images.detach().aminmax())
    # bicubic scaling of floats overshoots 0–1 slightly; the values of normalised images lie far outside
    if low < -0.25 or high > 1.25 or not math.isfinite(high - low):
        raise InputError(
            f"float images range from {low:.3g} to {high:.3g}; expected 0–1, not normalised "
            "(the model normalises its input; pass 0–255 as uint8)"
        )


def as_float(pixels: Tensor) -> Tensor:
    """Return pixels as floats in 0–1."""
    return pixels.to(torch.float32) / 255 if pixels.dtype == torch.uint8 else pixels
