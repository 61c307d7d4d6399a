"""The built-in dataset `demo:digits`: scikit-learn's 1,797 scans of handwritten digits, available offline."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import InputError, UnknownNameError
from zoo.tasks.classification.datasets import SCHEMES

_SIZE = 32
_TEST_EVERY = 5  # every fifth scan is for testing, the others for training


def open_demo(ref: DataRef, on_error: OnError) -> Dataset:
    """Open the built-in digits: `split=train` (1,437 images), `split=test` (360 images), or all of them by default.

    The source is the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), CC BY 4.0, as
    distributed with scikit-learn. The images show white digits on black and are enlarged from 8×8 to 32×32 pixels.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    if ref.path != "digits":
        raise UnknownNameError("demo data of classification", ref.path, ["digits"])
    if ref.split not in (None, "train", "test"):
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}; expected train or test")
    digits = load_digits()
    records = [
        Record(f"digit-{index:04d}", partial(_draw, scan), int(label))
        for index, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True))
        if ref.split is None or (ref.split == "test") == (index % _TEST_EVERY == 0)
    ]
    return finish(ref, records, [str(digit) for digit in range(10)], [], on_error)


def _draw(scan: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert a scan ([8, 8], ink from 0 to 16) to an RGB image."""
    grey = np.clip(scan * (255 / 16), 0, 255).astype(np.uint8)
    large: NDArray[np.uint8] = cv2.resize(grey, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return np.repeat(large[:, :, None], 3, axis=2)


SCHEMES.add("demo", Scheme("demo", open_demo))
