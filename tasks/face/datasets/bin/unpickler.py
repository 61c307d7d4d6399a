"""Safe reader of InsightFace's `.bin` pickles, which allows only bytes, booleans, numbers, lists and tuples.

A pickle is a program. Its instructions are checked against an allowlist before it runs, and every global that it may name is replaced by a
stand-in that only unwraps bytes; real globals (`os.system`, even `numpy`) can't be reached.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from typing import Any

# bytes and scalars, containers, the memo, and the instructions that call stand-ins
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("NEWTRUE", "NEWFALSE", "NONE", "INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
# exceptions of the C unpickler for invalid programs; apart from the stand-ins, no code of this module runs inside it
_INVALID = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, MemoryError)


def load(data: bytes) -> tuple[list[bytes], list[bool]]:
    """Read the encoded image files [2 N] and, for each pair of them, whether both show the same person [N].

    The pickle may have protocol 2 to 5, be written by Python 2 or 3, and hold lists or NumPy arrays.

    Raises:
        ValueError: the content is invalid; the message names the reason.
    """
    _check_program(data)
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _INVALID as error:
        raise ValueError(f"damaged, or not an InsightFace file: {str(error)[:120] or type(error).__name__}") from None
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(
            f"holds an object of type {type(content).__name__}; expected two lists, the images and whether each pair shows one person"
        )
    pictures = [_picture(item, index) for index, item in enumerate(_items(content[0], "the images"))]
    same = [_label(item, index) for index, item in enumerate(_items(content[1], "the labels"))]
    if not same or len(pictures) != 2 * len(same):
        raise ValueError(f"holds {len(pictures)} images and {len(same)} labels; expected two images per label, and at least one label")
    return pictures, same


def _check_program(data: bytes) -> None:
    reason = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pickletools decodes escapes in names, and warns of invalid ones
            for position, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                reason = reason or _refusal(opcode.name, argument, position, len(data))
    except (EOFError, ValueError, OverflowError, AttributeError, IndexError, TypeError) as error:
        reason = reason or f"not a pickle: {str(error)[:120]}"
    if reason:
        raise ValueError(reason)


def _refusal(opcode: str, argument: Any, position: int, size: int) -> str | None:
    if opcode not in _OPCODES:
        return f"contains the pickle instruction {opcode}, which is not allowed; only bytes and booleans are"
    # the unpickler allocates memory for any frame length and any memo index
    if opcode == "FRAME" and argument > size:
        return f"damaged: it announces {argument} bytes, but has {size}"
    if opcode in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
        return f"damaged: it stores memo entry {argument} after {position} instructions"
    return None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, never the real global."""
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        raise pickle.UnpicklingError(f"names {module}.{name}, which is not allowed; only bytes and booleans are")


def _encode(text: str, codec: str) -> bytes:
    """Stand-in for `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if codec not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("bytes in a codec other than latin1")
    return text.encode("latin-1")


class _DType:
    """Stand-in for `numpy.dtype`; only the name is used."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which don't matter for single bytes."""

    def items(self, data: Any) -> Any:
        """Return the elements of an array: a list of objects, a list of booleans, or bytes."""
        if self.name in ("O8", "O", "|O") and isinstance(data, list):
            return data
        if self.name == "b1" and isinstance(data, bytes | bytearray):
            return [bool(value) for value in data]
        if self.name in ("u1", "i1") and isinstance(data, bytes | bytearray):
            return bytes(data)
        raise pickle.UnpicklingError(f"holds an array of {str(self.name)[:20]!r}; expected bytes or booleans")


class _Array:
    """Stand-in for `numpy.ndarray`."""

    items: Any = None

    @classmethod
    def reconstruct(cls, *_: Any) -> _Array:
        """Stand-in for `_reconstruct`: an array that is filled later."""
        return cls()

    @classmethod
    def from_buffer(cls, data: Any, dtype: _DType, *_: Any) -> _Array:
        """Stand-in for `_frombuffer`, used by protocol 5."""
        made = cls()
        made.items = dtype.items(data)
        return made

    def __setstate__(self, state: tuple[Any, Any, _DType, Any, Any]) -> None:
        """Set the elements from version, shape, dtype, order and content."""
        _, _, dtype, _, data = state
        self.items = dtype.items(data)


def _scalar(dtype: _DType, data: Any) -> Any:
    """Stand-in for `scalar`: a NumPy boolean."""
    return dtype.items(data)[0]


_CORES: tuple[str, ...] = ("numpy.core", "numpy._core")
_GLOBALS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"{core}.multiarray", "_reconstruct"): _Array.reconstruct for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _Array.from_buffer for core in _CORES},
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
