"""Images in memory: arrays, tensors and PIL images of the usual forms are converted to RGB arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from zoo.errors import InputError
from zoo.images.decoding import Decoding, over_white

Image = NDArray[np.uint8]
_EXPECTED = "expected RGB [H, W, 3], grey [H, W] or RGBA [H, W, 4]; uint8 0–255, uint16 0–65535 or float 0–1"


def is_encoded(item: object) -> bool:
    """Return whether an object is the content of an image file, also as an array or tensor of bytes, or an open file."""
    if isinstance(item, np.ndarray | Tensor):
        return item.ndim == 1 and item.dtype in (np.uint8, torch.uint8)
    return isinstance(item, bytes | bytearray | memoryview) or (hasattr(item, "read") and not isinstance(item, PILImage.Image))


def encoded(item: Any, name: str) -> tuple[bytes, str]:
    """Return the bytes of an encoded image, and a name: that of the open file, or else `name`."""
    if isinstance(item, np.ndarray | Tensor):
        return np.asarray(item).tobytes(), name
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item), name
    data, path = item.read(), getattr(item, "name", None)
    if not isinstance(data, bytes):
        raise InputError(f"the open file {path or name} yields {type(data).__name__}; expected bytes. Open it with open(path, 'rb')")
    return data, path if isinstance(path, str) else name


def sample(item: object) -> tuple[Any, str] | None:
    """Return the image and key of a sample, an object or mapping with both; None for other objects."""
    if isinstance(item, Mapping):
        if "image" not in item:
            raise InputError(f"the source is a mapping with the keys {', '.join(map(repr, list(item)[:5]))}; expected 'image' and 'key'")
        return item["image"], str(item.get("key", "image"))
    return (item.image, str(item.key)) if hasattr(item, "image") and hasattr(item, "key") else None


def is_pixels(item: object) -> bool:
    """Return whether an object is an array, a tensor or a PIL image."""
    return isinstance(item, np.ndarray | Tensor | PILImage.Image)


def images(item: Any, name: str, reading: Decoding) -> list[tuple[Image, str]]:
    """Return the images [H, W, 3] uint8, RGB, of an array, a tensor or a PIL image, with their names. Batches are split.

    Raises:
        InputError: the shape, type or range of values isn't that of images.
        ImageError: a PIL image can't be decoded or is too large.
    """
    if isinstance(item, PILImage.Image):
        path = getattr(item, "filename", "")
        return [(reading.convert(item, path or name), path if isinstance(path, str) and path else name)]
    if not is_pixels(item):
        raise InputError(f"the image of {name} is a {type(item).__name__}; expected an array, a tensor or a PIL image")
    array = _from_tensor(item, name) if isinstance(item, Tensor) else item
    if array.ndim == 4:
        return [(_rgb(one, f"{name} {index}"), f"{name} {index}") for index, one in enumerate(array)]
    return [(_rgb(array, name), name)]


def _from_tensor(tensor: Tensor, name: str) -> NDArray[Any]:
    """Return a tensor [C, H, W] or [B, C, H, W] as an array with the channels last; [H, W] as it is."""
    if tensor.ndim not in (2, 3, 4) or (tensor.ndim > 2 and tensor.shape[-3] not in (1, 3, 4)):
        raise InputError(f"{name} is a tensor of shape {tuple(tensor.shape)}; expected [3, H, W] or [B, 3, H, W], RGB")
    pixels = tensor.detach().cpu()
    pixels = pixels.float() if pixels.dtype in (torch.bfloat16, torch.float16) else pixels
    array: NDArray[Any] = pixels.numpy()
    return array if tensor.ndim == 2 else np.moveaxis(array, -3, -1)


def _rgb(array: NDArray[Any], name: str) -> Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}; {_EXPECTED}")
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not 0 <= low <= high <= 1:  # also if they aren't numbers
            raise InputError(f"{name} is {array.dtype} from {low:.3g} to {high:.3g}; {_EXPECTED}, not normalised")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}; {_EXPECTED}")
    if channels == 4:
        return over_white(np.ascontiguousarray(array))
    return array if channels == 3 else np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
