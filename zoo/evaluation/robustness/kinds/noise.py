"""Sensor noise: thermal noise, shot noise, and defective pixels (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import numpy as np

from zoo.evaluation.robustness.definition import Constants, FloatImage, corruption, each


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
