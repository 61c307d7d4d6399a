"""dlib's serialised face network (`dlib_face_recognition_resnet_model_v1.dat`) as tensors, without dlib.

dlib writes an integer as a byte with its number of bytes (0x80 in it marks a negative one) and these bytes, least significant first; a
real number as two integers, mantissa and exponent of 2; a tensor as five integers (a version, then samples, channels, rows and columns)
and its float32 values, least significant byte first. A network is what its loss is, a header that repeats its structure, the input layer
and then one record per layer, from the input on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightsError

SUFFIX = ".dat"
_LOSS, _INPUT = "loss_metric_2", "input_rgb_image_sized"
_LONGEST_NAME = 64  # of a layer; dlib's longest has 21 letters
_MOST_VALUES = 1 << 26  # in a tensor; the largest of this network has 590,080


class _Damaged(Exception):
    """The bytes are not what dlib would have written; says where."""


class _Cursor:
    """Reads dlib's serialised values one after the other."""

    def __init__(self, content: bytes) -> None:
        """Start at the first byte."""
        self._content, self._place = content, 0

    @property
    def at_end(self) -> bool:
        """Whether every byte was read."""
        return self._place == len(self._content)

    def fail(self, found: str) -> _Damaged:
        """Return the error for something unexpected that ends here."""
        return _Damaged(f"{found} before byte {self._place:,} of {len(self._content):,}")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if self._place + count > len(self._content):
            raise self.fail(f"it ends where {count:,} more bytes are expected,")
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
        """Return several integers."""
        return [self.integer() for _ in range(count)]

    def real(self) -> float:
        """Return a real number."""
        mantissa, exponent = self.integers(2)
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.fail(f"a number of {mantissa}·2^{exponent}") from None

    def name(self) -> str:
        """Return a layer's name; before some there is the number of a version, which is skipped."""
        length = self.integer()
        length = self.integer() if length == 1 else length
        if not 1 < length <= _LONGEST_NAME:
            raise self.fail(f"a layer's name of {length} letters")
        return self.take(length).decode("ascii", "backslashreplace")

    def tensor(self) -> Tensor:
        """Return a tensor [samples, channels, rows, columns] float32."""
        version, *shape = self.integers(5)
        if version != 2 or min(shape) < 0 or math.prod(shape) > _MOST_VALUES:
            raise self.fail(f"a tensor of version {version} and shape {shape}")
        raw = np.frombuffer(self.take(4 * math.prod(shape)), "<f4")
        if not np.isfinite(raw).all():
            raise self.fail(f"values that are not finite in a tensor of the shape {shape}")
        return torch.from_numpy(raw.astype(np.float32)).reshape(shape)


def read_dlib(path: Path) -> dict[str, Tensor]:
    """Read a face network out of dlib's file.

    Args:
        path: the file.

    Returns:
        In the order of the network, counted from 1: "con1.weight" [out, in, rows, columns] and "con1.bias" [out] of the convolutions,
        "affine1.weight" and "affine1.bias" [C] of the affine layers, and "fc.weight" [out, in]. "mean" [3] (RGB, 0–255) and "size_hw"
        [2] (pixels) are those of the input layer, "threshold" [] is the loss's: pictures of one person are nearer than that.

    Raises:
        WeightsError: it can't be read; not such a file, or a damaged one, with the place.
    """
    try:
        cursor = _Cursor(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"weights {path}: can't be read ({error.strerror})") from error
    try:
        state = dict(_header(cursor))
        counts = dict.fromkeys(_RECORDS, 0)
        while counts["fc_2"] == 0:
            kind = cursor.name()
            if kind not in _RECORDS:
                raise cursor.fail(f"a layer {kind!r}, which a face network doesn't have,")
            counts[kind] += 1
            state.update({f"{_RECORDS[kind][0]}{key}": value for key, value in _RECORDS[kind][1](cursor, counts[kind])})
            _end_of_layer(cursor)
        if not cursor.at_end:
            raise cursor.fail("more bytes behind the last layer")
        return state
    except _Damaged as error:
        raise WeightsError(f"weights {path}: no face network of dlib, or a damaged one: {error}") from None


def _header(cursor: _Cursor) -> Iterator[tuple[str, Tensor]]:
    """Read all that stands before the first layer."""
    if (loss := cursor.take(4 + len(_LOSS))) != b"\x01\x01\x01" + bytes([len(_LOSS)]) + _LOSS.encode():
        raise cursor.fail(f"{bytes(loss)!r} where dlib's metric loss is expected")
    _, threshold = cursor.real(), cursor.real()
    yield "threshold", torch.tensor(threshold)
    while (number := cursor.integer()) != len(_INPUT):  # the structure: versions of the layers one in another, all of them 1 to 3
        if not 1 <= number <= 3:
            raise cursor.fail(f"a layer of version {number}")
    if (name := cursor.take(len(_INPUT))) != _INPUT.encode():
        raise cursor.fail(f"an input {name!r}")
    yield "mean", torch.tensor([cursor.real() for _ in range(3)])
    yield "size_hw", torch.tensor(cursor.integers(2))


def _end_of_layer(cursor: _Cursor) -> None:
    """Read what dlib keeps with every layer: three flags, and three tensors that are empty unless it was saved in mid-training."""
    flags = cursor.take(3)
    if not set(flags) <= set(b"01"):
        raise cursor.fail(f"the flags {flags!r} of a layer")
    for _ in range(3):
        cursor.tensor()


def _skip(cursor: _Cursor, shapes: int, numbers: int, reals: int) -> None:
    """Read what a layer says about its tensor a second time, its settings, and how quickly it was to learn."""
    cursor.integers(5 * shapes + numbers)
    for _ in range(reals):
        cursor.real()


def _convolution(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    values = cursor.tensor().flatten()
    filters, rows, columns, *_ = cursor.integers(7)  # strides and padding are the architecture's
    _, *shape = cursor.integers(5)
    if shape[0] != filters or shape[2:] != [rows, columns] or math.prod(shape) + filters != len(values):
        raise cursor.fail(f"a convolution of {filters} filters with {len(values):,} numbers in the shape {shape}")
    _skip(cursor, 1, 0, 4)
    yield f"{number}.weight", values[:-filters].reshape(shape)
    yield f"{number}.bias", values[-filters:].clone()


def _affine(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    values = cursor.tensor().flatten()
    _skip(cursor, 2, 1, 0)
    half = len(values) // 2
    yield f"{number}.weight", values[:half].clone()
    yield f"{number}.bias", values[half:].clone()


def _linear(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
    outputs, inputs = cursor.integers(2)
    values = cursor.tensor().flatten()
    if outputs * inputs != len(values):
        raise cursor.fail(f"a linear layer from {inputs} to {outputs} with {len(values):,} numbers")
    _skip(cursor, 2, 1, 4)
    yield ".weight", values.reshape(inputs, outputs).T.contiguous()


def _without_parameters(numbers: int) -> _Reader:
    def read(cursor: _Cursor, number: int) -> Iterator[tuple[str, Tensor]]:
        cursor.integers(numbers)
        yield from ()

    return read


_Reader = Callable[[_Cursor, int], Iterator[tuple[str, Tensor]]]
# what of the state dict a layer is, and how the rest of its record is read
_RECORDS: dict[str, tuple[str, _Reader]] = {
    "con_4": ("con", _convolution),
    "affine_": ("affine", _affine),
    "fc_2": ("fc", _linear),
    "relu_": ("", _without_parameters(0)),
    "add_prev_": ("", _without_parameters(0)),
    "max_pool_2": ("", _without_parameters(6)),
    "avg_pool_2": ("", _without_parameters(6)),
}
