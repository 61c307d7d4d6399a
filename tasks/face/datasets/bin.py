"""Scheme `bin:` – InsightFace's verification sets (lfw.bin, cfp_fp.bin, agedb_30.bin, …), pairs of aligned images in a pickle file.

A pickle is a program. Its instructions are checked against an allowlist before it runs: it may only create bytes, booleans, numbers, lists
and tuples. Each global that it may import is replaced by a stand-in that only unwraps bytes, so real globals (`os.system`, even `numpy`)
can't be reached.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import DataError, InputError
from zoo.images import decoding
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

_FOLDS = 10
# instructions for bytes and scalars, for containers, for the memo, and for calling stand-ins
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("NEWTRUE", "NEWFALSE", "NONE", "INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
# exceptions that the C unpickler raises for invalid programs; of this module, only the stand-ins run inside it
_INVALID = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, MemoryError)


def open_bin(ref: DataRef, on_error: OnError) -> Dataset:
    """Open the images and their pairs. Images 2 i and 2 i + 1 form pair i.

    The identities are unknown, so the targets are None and there are no classes. The pairs are divided in file order into ten folds of
    nearly equal size, as by scikit-learn's KFold in InsightFace's evaluation.
    """
    file = ref.file()
    if ref.split is not None:
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}, but .bin files have no splits; remove split=")
    try:
        pictures, same = load(file.read_bytes())
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    records = [Record(f"{index:06d}", partial(decoding.decode, data, f"{file} image {index}"), None) for index, data in enumerate(pictures)]
    runs = np.array_split(np.arange(len(same)), min(_FOLDS, len(same)))
    pairs = [Pair(records[2 * i].key, records[2 * i + 1].key, same[i], fold) for fold, run in enumerate(runs) for i in run]
    return PairedDataset.of(finish(ref, records, (), (), on_error), pairs, [record.key for record in records])


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() != ".bin" or not file.is_file():
        return None
    with file.open("rb") as opened:
        return "it is a .bin file that contains a pickle" if opened.read(1) == b"\x80" else None


def load(data: bytes) -> tuple[list[bytes], list[bool]]:
    """Read the 2 N encoded image files, and for each of the N pairs whether its two images show the same person.

    The pickle may use protocols 2 to 5, may have been written by Python 2 or 3, and may contain lists or NumPy arrays.

    Raises:
        ValueError: the content is invalid. The message gives the reason.
    """
    _check_program(data)
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _INVALID as error:
        raise ValueError(f"the file is damaged, or not an InsightFace file: {str(error)[:120] or type(error).__name__}") from None
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(
            f"the pickle holds an object of type {type(content).__name__}; expected two lists: the images and the labels of the pairs"
        )
    pictures = [_picture(item, index) for index, item in enumerate(_items(content[0], "the images"))]
    same = [_label(item, index) for index, item in enumerate(_items(content[1], "the labels"))]
    if not same or len(pictures) != 2 * len(same):
        raise ValueError(f"it holds {len(pictures)} images and {len(same)} labels; expected two images per label and at least one label")
    return pictures, same


def _check_program(data: bytes) -> None:
    reason = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pickletools warns about invalid escape sequences in names
            for position, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                reason = reason or _refusal(opcode.name, argument, position, len(data))
    except (EOFError, ValueError, OverflowError, AttributeError, IndexError, TypeError) as error:
        reason = reason or f"the file is not a pickle: {str(error)[:120]}"
    if reason:
        raise ValueError(reason)


def _refusal(opcode: str, argument: Any, position: int, size: int) -> str | None:
    if opcode not in _OPCODES:
        return f"the file contains the pickle instruction {opcode}, which is not allowed; expected only bytes and booleans"
    # reject large frame lengths and memo indices, because the unpickler would allocate memory for them
    if opcode == "FRAME" and argument > size:
        return f"the file is damaged: it announces a frame of {argument} bytes, but has only {size} bytes"
    if opcode in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
        return f"the file is damaged: it stores memo entry {argument} after {position} instructions"
    return None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, never the real global."""
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        raise pickle.UnpicklingError(f"it imports {module}.{name}, which is not allowed; expected only bytes and booleans")


def _encode(text: str, codec: str) -> bytes:
    """Stand-in for `_codecs.encode`, which Python 3 uses for bytes in protocol 2."""
    if codec not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes bytes with a codec other than latin1")
    return text.encode("latin-1")


class _DType:
    """Stand-in for `numpy.dtype` that only stores the name."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which don't matter for single bytes."""

    def items(self, data: Any) -> Any:
        """Return the elements of an array of this type: a list of objects, a list of booleans, or bytes."""
        if self.name in ("O8", "O", "|O") and isinstance(data, list):
            return data
        if self.name in ("b1", "u1", "i1") and isinstance(data, bytes | bytearray):
            return [bool(value) for value in data] if self.name == "b1" else bytes(data)
        raise pickle.UnpicklingError(f"it contains an array of type {str(self.name)[:20]!r}; expected bytes or booleans")


class _Array:
    """Stand-in for `numpy.ndarray`, whose elements are set after it has been created."""

    items: Any = None

    def __setstate__(self, state: tuple[Any, Any, _DType, Any, Any]) -> None:
        """Set the elements from a state of version, shape, dtype, order and content."""
        _, _, dtype, _, data = state
        self.items = dtype.items(data)


_CORES: tuple[str, ...] = ("numpy.core", "numpy._core")
_GLOBALS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"{core}.multiarray", "_reconstruct"): lambda *_: _Array() for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): lambda dtype, data: dtype.items(data)[0] for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): lambda data, dtype, *_: dtype.items(data) for core in _CORES},
}


def _items(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    items = value.items if isinstance(value, _Array) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{what} are of type {type(items).__name__}; expected a list")
    return items


def _picture(value: Any, index: int) -> bytes:
    data = value.items if isinstance(value, _Array) else value
    if not isinstance(data, bytes):
        raise ValueError(f"image {index} is of type {type(data).__name__}; expected the bytes of an image file")
    return data


def _label(value: Any, index: int) -> bool:
    if value not in (0, 1) or not isinstance(value, int):
        raise ValueError(f"label {index} is of type {type(value).__name__}; expected true or false")
    return bool(value)


SCHEMES.add("bin", Scheme("bin", open_bin, recognise_file=_recognise))
