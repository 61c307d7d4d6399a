"""Digital corruptions: contrast, elastic transform, pixelation and JPEG compression (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import cv2
import numpy as np

from zoo.evaluation.robustness.definition import Constants, FloatImage, corruption, each, single
from zoo.images import decoding


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
