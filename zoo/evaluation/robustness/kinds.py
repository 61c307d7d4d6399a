"""The fifteen common corruptions: noise, blur, weather and digital artefacts (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from zoo.errors import check_positive
from zoo.evaluation.robustness.textures import FloatImage, disk_kernel, filtered, frost_crystals, motion_kernel, plasma, single
from zoo.images import decoding
from zoo.registry import Registry

Constants = tuple[float, ...]
Apply = Callable[[FloatImage, Constants, np.random.Generator], FloatImage]

SEVERITIES = (1, 2, 3, 4, 5)
SMALL_SIDE, LARGE_SIDE = 32, 224  # pixels: sizes of CIFAR-10 images and ImageNet crops, for which the constants were published


@dataclass(frozen=True)
class Corruption:
    """A type of corruption.

    Attributes:
        apply: function of an image ([H, W, 3] float32, RGB, in 0–1), the constants and a random generator. It returns an image of the
            same shape; its values may lie outside 0–1.
        small: constants for severities 1 to 5, for images of up to 32 pixels on the short side.
        large: constants for severities 1 to 5, for images of 224 pixels or more on the short side.
    """

    apply: Apply
    small: tuple[Constants, ...]
    large: tuple[Constants, ...]

    def constants(self, severity: int, size_hw: tuple[int, int]) -> Constants:
        """Return the constants for an image size. Between 32 and 224 pixels, they are interpolated by the logarithm of the short side."""
        check_positive("image", height=size_hw[0], width=size_hw[1])
        share = math.log(min(size_hw) / SMALL_SIDE) / math.log(LARGE_SIDE / SMALL_SIDE)
        share = min(1.0, max(0.0, share))
        pairs = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        return tuple(low * (1 - share) + high * share for low, high in pairs)


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(name: str, *, small: tuple[Constants, ...], large: tuple[Constants, ...]) -> Callable[[Apply], Apply]:
    """Return a decorator that registers a function as a corruption. For `small` and `large`, see `Corruption`."""

    def add(apply: Apply) -> Apply:
        CORRUPTIONS.add(name, Corruption(apply, small, large))
        return apply

    return add


def each(*values: float) -> tuple[Constants, ...]:
    """Return the constants for severities 1 to 5, given a single value for each severity."""
    return tuple((value,) for value in values)


@corruption("gaussian_noise", small=each(0.04, 0.06, 0.08, 0.09, 0.10), large=each(0.08, 0.12, 0.18, 0.26, 0.38))
def gaussian_noise(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Add Gaussian noise. The constant is its standard deviation."""
    (deviation,) = constants
    return image + np.float32(deviation) * rng.standard_normal(image.shape, np.float32)


@corruption("shot_noise", small=each(500, 250, 100, 75, 50), large=each(60, 25, 12, 5, 3))
def shot_noise(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Simulate photon noise with Poisson counts. The constant is the mean count of a white pixel."""
    (photons,) = constants
    return (rng.poisson(image * photons) / photons).astype(np.float32)


@corruption("impulse_noise", small=each(0.01, 0.02, 0.03, 0.05, 0.07), large=each(0.03, 0.06, 0.09, 0.17, 0.27))
def impulse_noise(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Replace random values by 0 or 1, independently per channel. The constant is the fraction of replaced values."""
    (share,) = constants
    drawn = rng.random(image.shape, np.float32)
    return np.where(drawn < share, (drawn < share / 2).astype(np.float32), image)


@corruption(
    "defocus_blur",  # radius of the disk and softness of its edge, in pixels
    small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur with a disk-shaped kernel."""
    return filtered(image, disk_kernel(*constants))


@corruption(
    "glass_blur",  # sigma of both Gaussian blurs and maximum shift of a pixel, in pixels; number of rounds
    small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    large=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur, shuffle pixels within small neighbourhoods, and blur again.

    The published code swaps pixels one by one. Here, each round replaces all pixels by neighbouring pixels at once. The result looks the
    same, and this is a hundred times faster.
    """
    sigma, reach, rounds = constants[0], round(constants[1]), round(constants[2])
    height, width = image.shape[:2]
    moved = single(cv2.GaussianBlur(image, (0, 0), sigma))
    for _ in range(rounds):
        # a swap shifts one pixel by -reach … reach - 1 and its partner the opposite way, so both signs are equally likely
        jumps = rng.integers(-reach, reach, (2, height, width)) * rng.choice((-1, 1), (1, height, width))
        y = np.clip(np.arange(height)[:, None] + jumps[0], 0, height - 1)
        x = np.clip(np.arange(width)[None, :] + jumps[1], 0, width - 1)
        moved = moved[y, x]
    return single(cv2.GaussianBlur(moved, (0, 0), sigma))


@corruption(
    "motion_blur",  # half the length of the line and sigma of its fall-off, in pixels
    small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Blur along a line at a random angle of up to 45 degrees to the horizontal."""
    radius, sigma = constants
    return filtered(image, motion_kernel(radius, sigma, np.radians(rng.uniform(-45, 45))))


@corruption(
    "zoom_blur",  # maximum zoom factor, step between zoom factors
    small=((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
    large=((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
)
def zoom_blur(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Average the image with copies zoomed about its centre, by factors from 1 to the maximum."""
    largest, step = constants
    height, width = image.shape[:2]
    zooms = 1 + step * np.arange(round((largest - 1) / step) + 1)
    total = image.copy()
    for zoom in zooms:
        matrix = np.array([[zoom, 0, (1 - zoom) * (width - 1) / 2], [0, zoom, (1 - zoom) * (height - 1) / 2]])
        total += cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return total / np.float32(len(zooms) + 1)


@corruption(
    "snow",  # flakes: mean, standard deviation, size, threshold, half length and sigma of motion blur; weight of the image
    small=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    large=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
def snow(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Whiten the image and add two crossing layers of motion-blurred flakes."""
    mean, deviation, zoom, threshold, radius, sigma, share = constants
    height, width = image.shape[:2]
    grid_hw = (int(np.ceil(height / zoom)), int(np.ceil(width / zoom)))
    drift = single(cv2.resize(mean + deviation * rng.standard_normal(grid_hw), (width, height)))
    flakes = single(np.clip(np.where(drift < threshold, 0, drift), 0, 1))
    layer = filtered(flakes, motion_kernel(radius, sigma, np.radians(rng.uniform(-135, -45))))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    whitened = share * image + (1 - share) * np.maximum(image, grey * 1.5 + 0.5)
    return single(whitened + (layer + layer[::-1, ::-1])[..., None])


@corruption(
    "frost",  # weight of the image, weight of the ice
    small=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    large=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
)
def frost(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Overlay the image with a synthetic ice texture. The published corruption uses photographs of ice."""
    share, ice = (np.float32(value) for value in constants)
    return share * image + ice * frost_crystals((image.shape[0], image.shape[1]), rng)


@corruption(
    "fog",  # density, decay of the texture from coarse to fine grids
    small=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    large=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
def fog(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Add fractal fog, and rescale the image so that its maximum value doesn't change."""
    density, decay = np.float32(constants[0]), constants[1]
    brightest = np.float32(max(image.max(), 1e-3))
    veiled = image + density * plasma((image.shape[0], image.shape[1]), decay, rng)[..., None]
    return single(veiled * (brightest / (brightest + density)))


@corruption("brightness", small=each(0.05, 0.1, 0.15, 0.2, 0.3), large=each(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Increase the value channel in HSV space; hue and saturation are unchanged."""
    (added,) = constants
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    return single(np.where(value > 0, image * (brighter / np.maximum(value, np.float32(1e-6))), brighter))


@corruption("contrast", small=each(0.75, 0.5, 0.4, 0.3, 0.15), large=each(0.4, 0.3, 0.2, 0.1, 0.05))
def contrast(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Reduce the contrast: scale the deviation of each channel from its mean."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return single((image - mean) * np.float32(constants[0]) + mean)


@corruption(
    "elastic_transform",  # RMS of the shift, in pixels; sigma of its smoothing, as a fraction of the short side
    small=((0.10, 0.06), (0.16, 0.06), (0.22, 0.06), (0.41, 0.04), (0.54, 0.03)),
    large=((1.02, 0.01), (1.32, 0.01), (1.73, 0.01), (2.04, 0.01), (2.44, 0.01)),
)
def elastic_transform(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Distort the image locally.

    The published transform for classification also applies an affine transform of up to a fifth of the image side. It would move objects
    out of their boxes, so only the local distortion is applied here. For large images, the distortion is that of Michaelis et al. 2019
    (who omit the affine transform for detection), with the root mean square of their uniform noise after smoothing. For small images, it
    is that of CIFAR-10-C at severities 3 to 5. At severities 1 and 2, where CIFAR-10-C has almost no local distortion, it is weaker.
    """
    height, width = image.shape[:2]
    shift, smooth = constants[0], constants[1] * min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for places in (y, x):
        wobble = cv2.GaussianBlur(rng.uniform(-1, 1, (height, width)).astype(np.float32), (0, 0), smooth)
        places += wobble * np.float32(shift / max(float(np.sqrt(np.mean(wobble**2))), 1e-6))
    return single(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


@corruption("pixelate", small=each(0.95, 0.9, 0.85, 0.75, 0.65), large=each(0.6, 0.5, 0.4, 0.3, 0.25))
def pixelate(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Scale the image down by area averaging, and back up without smoothing. The constant is the scale factor."""
    height, width = image.shape[:2]
    coarse_wh = tuple(max(1, int(side * constants[0])) for side in (width, height))
    coarse = cv2.resize(image, coarse_wh, interpolation=cv2.INTER_AREA)
    return single(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


@corruption("jpeg_compression", small=each(80, 65, 58, 50, 40), large=each(25, 18, 15, 10, 7))
def jpeg_compression(image: FloatImage, constants: Constants, rng: np.random.Generator) -> FloatImage:
    """Encode the image as a JPEG, and decode it. The constant is the JPEG quality, 0–100."""
    pixels = np.round(image * 255).astype(np.uint8)
    written, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(constants[0])])
    assert written
    return decoding.decode(data.tobytes(), "JPEG of a corruption").astype(np.float32) / np.float32(255)
