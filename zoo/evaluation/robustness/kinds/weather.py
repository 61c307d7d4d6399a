"""Weather corruptions: snow, frost, fog and brightness (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import cv2
import numpy as np

from zoo.evaluation.robustness.definition import Constants, FloatImage, corruption, each, single
from zoo.evaluation.robustness.textures import filtered, frost_crystals, motion_kernel, plasma


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
