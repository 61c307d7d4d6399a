"""Read dlib's serialised face network (`dlib_face_recognition_resnet_model_v1.dat`), without dlib.

dlib writes an integer as one byte with the number of the following bytes (bit 0x80 marks a negative integer), followed by these bytes in
little-endian order. A real number is two integers, mantissa and exponent of 2. A tensor is five integers (version, samples, channels,
rows, columns), followed by its values in little-endian float32. A network is the loss, a header that describes the structure, the input
layer, and then one record per layer, starting at the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightsError

SUFFIX = ".dat"
_LOSS, _INPUT = b"loss_metric_2", b"input_rgb_image_sized"
_LONGEST_NAME = 64  # maximum number of letters in a layer's name; dlib's longest name has 21
_MOST_VALUES = 1 << 26  # maximum number of values in a tensor; the largest tensor of this network has 590,080


class _Damaged(Exception):
    """Error raised for bytes that dlib would not have written; the message states their position."""


class _Cursor:
    """Sequential reader of dlib's serialised values."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    @property
    def at_end(self) -> bool:
        """Whether all bytes have been read."""
        return self._place == len(self._content)

    def fail(self, found: str) -> _Damaged:
        """Return an error for unexpected content that ends at the current position; `found` describes the content."""
        return _Damaged(f"{found} before byte {self._place:,} of {len(self._content):,}")

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if self._place + count > len(self._content):
            raise self.fail(f"the file ends where {count:,} more bytes are expected,")
        self._place += count
        return self._content[self._place - count : self._place]

    def integer(self) -> int:
        """Return an integer of up to 8 bytes."""
        size = self.take(1)[0]
        count = size & 0x7F
        if not 1 <= count <= 8:
            raise self.fail(f"an integer of {count} bytes")
        value = int.from_bytes(self.take(count), "little")
        return -value if size & 0x80 else value

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def reals(self, count: int) -> list[float]:
        return [self._real() for _ in range(count)]

    def _real(self) -> float:
        mantissa, exponent = self.integers(2)
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.fail(f"a value of {mantissa}·2^{exponent}") from None

    def name(self) -> str:
        """Return the name of a layer, and skip the version number that precedes some names."""
        length = self.integer()
        length = self.integer() if length == 1 else length
        if not 1 < length <= _LONGEST_NAME:
            raise self.fail(f"a layer's name of {length} letters")
        return self.take(length).decode("ascii", "backslashreplace")

    def tensor(self) -> Tensor:
        """Return a float32 tensor [samples, channels, rows, columns]."""
        version, *shape = self.integers(5)
        if version != 2 or min(shape) < 0 or math.prod(shape) > _MOST_VALUES:
            raise self.fail(f"a tensor of version {version} and shape {shape}")
        raw = np.frombuffer(self.take(4 * math.prod(shape)), "<f4")
        if not np.isfinite(raw).all():
            raise self.fail(f"values that are not finite in a tensor of shape {shape}")
        return torch.from_numpy(raw.astype(np.float32)).reshape(shape)


def read_dlib(path: Path) -> dict[str, Tensor]:
    """Read a face network from dlib's file.

    Returns:
        A state dict. The layers of each kind are numbered from 1 in network order. Convolutions have the keys "con1.weight"
        [out, in, rows, columns] and "con1.bias" [out], affine layers "affine1.weight" and "affine1.bias" [C], and the linear layer
        "fc.weight" [out, in]. The settings of the input layer are "mean" [3] (RGB, 0–255) and "size_hw" [2] (height and width in pixels).
        The loss has the setting "threshold" [], the maximum distance between embeddings of the same person.

    Raises:
        WeightsError: the file can't be read, is not dlib's face network, or is damaged. The message states the position of the damage.
    """
    try:
        cursor = _Cursor(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"weights {path} can't be read ({error.strerror})") from error
    try:
        state = dict(_header(cursor))
        counts = dict.fromkeys(_RECORDS, 0)
        while counts["fc_2"] == 0:
            kind = cursor.name()
            if kind not in _RECORDS:
                raise cursor.fail(f"a layer of type {kind!r}, which face networks don't use,")
            counts[kind] += 1
            state.update({f"{_RECORDS[kind][0]}{key}": value for key, value in _RECORDS[kind][1](cursor, counts[kind])})
            flags = cursor.take(3)
            if not set(flags) <= set(b"01"):
                raise cursor.fail(f"the flags {flags!r} of a layer")
            for _ in range(3):
                cursor.tensor()  # empty unless the network was saved during training
        if not cursor.at_end:
            raise cursor.fail("unexpected data after the last layer")
        return state
    except _Damaged as error:
        raise WeightsError(f"weights {path}: the file is not a face network of dlib, or is damaged: {error}") from None


def _header(cursor: _Cursor) -> Iterator[tuple[str, Tensor]]:
    """Read the content before the first layer, and yield the threshold and the settings of the input layer."""
    if (loss := cursor.take(4 + len(_LOSS))) != b"\x01\x01\x01" + bytes([len(_LOSS)]) + _LOSS:
        raise cursor.fail(f"{loss!r} where dlib's metric loss is expected")
    yield "threshold", torch.tensor(cursor.reals(2)[1])
    while (number := cursor.integer()) != len(_INPUT):  # version numbers of the nested layers, all from 1 to 3
        if not 1 <= number <= 3:
            raise cursor.fail(f"a layer of version {number}")
    if (name := cursor.take(len(_INPUT))) != _INPUT:
        raise cursor.fail(f"an input {name!r}")
    yield "mean", torch.tensor(cursor.reals(3))
    yield "size_hw", torch.tensor(cursor.integers(2))


# the readers below skip repeated shapes of tensors (5 integers each), settings (1 integer each) and learning rates (4 real numbers)


def _convolution(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    values = cursor.tensor().flatten()
    filters, rows, columns, *_ = cursor.integers(7)  # strides and padding are known from the architecture
    _, *shape = cursor.integers(5)
    if shape[0] != filters or shape[2:] != [rows, columns] or math.prod(shape) + filters != len(values):
        raise cursor.fail(f"a convolution of {filters} filters with {len(values):,} values in the shape {shape}")
    cursor.integers(5)
    cursor.reals(4)
    yield f"{number}.weight", values[:-filters].reshape(shape)
    yield f"{number}.bias", values[-filters:].clone()


def _affine(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    values = cursor.tensor().flatten()
    cursor.integers(11)
    half = len(values) // 2
    yield f"{number}.weight", values[:half].clone()
    yield f"{number}.bias", values[half:].clone()


def _linear(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    outputs, inputs = cursor.integers(2)
    values = cursor.tensor().flatten()
    if outputs * inputs != len(values):
        raise cursor.fail(f"a linear layer from {inputs} to {outputs} with {len(values):,} values")
    cursor.integers(11)
    cursor.reals(4)
    yield ".weight", values.reshape(inputs, outputs).T.contiguous()


def _without_parameters(cursor: _Cursor, number: int, settings: int = 0) -> Iterator[tuple[str, Tensor]]:
    cursor.integers(settings)
    yield from ()


_Reader = Callable[[_Cursor, int], Iterator[tuple[str, Tensor]]]
# for each kind of layer: the prefix of its keys in the state dict, and the reader of the rest of its record
_RECORDS: dict[str, tuple[str, _Reader]] = {
    "con_4": ("con", _convolution),
    "affine_": ("affine", _affine),
    "fc_2": ("fc", _linear),
    "relu_": ("", _without_parameters),
    "add_prev_": ("", _without_parameters),
    "max_pool_2": ("", partial(_without_parameters, settings=6)),
    "avg_pool_2": ("", partial(_without_parameters, settings=6)),
}
