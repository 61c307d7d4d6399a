"""InsightFace's `.bin` files: pickles, read without admitting anything but bytes, truth values, numbers, lists and tuples.

A pickle is a program. Here its instructions are checked against a list before it runs, and every global it may name is a
stand-in of ours that does no more than unwrap bytes; real ones (`os.system`, `numpy` itself) are out of reach.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from typing import Any

# bytes and the like, containers, the memo, and what stand-ins need
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("NEWTRUE", "NEWFALSE", "NONE", "INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
# what the C unpickler raises for programs that make no sense; none of our own code runs in it but the stand-ins
_SENSELESS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, MemoryError)


def load(data: bytes) -> tuple[list[bytes], list[bool]]:
    """Read the pictures and, for each two of them, whether they show one person.

    Args:
        data: the whole file; pickle protocols 2 to 5, written by Python 2 or 3, with lists or arrays of NumPy.

    Returns:
        The pictures' files [2 N] and the truth values [N].

    Raises:
        ValueError: another content; the message says what.
    """
    _check_program(data)
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _SENSELESS as error:
        raise ValueError(f"is damaged, or is no InsightFace file: {str(error)[:120] or type(error).__name__}") from None
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(f"holds a {type(content).__name__}; expected two lists, the pictures and whether they show one person")
    pictures = [_picture(item, index) for index, item in enumerate(_items(content[0], "the pictures"))]
    same = [_truth(item, index) for index, item in enumerate(_items(content[1], "the truth values"))]
    if not same or len(pictures) != 2 * len(same):
        raise ValueError(f"holds {len(pictures)} pictures and {len(same)} truth values; expected two pictures for each, and at least one")
    return pictures, same


def _check_program(data: bytes) -> None:
    reason = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pickletools reads names with escapes, and warns of wrong ones
            for position, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                reason = reason or _refusal(opcode.name, argument, position, len(data))
    except (EOFError, ValueError, OverflowError, AttributeError, IndexError, TypeError) as error:
        reason = reason or f"is no pickle: {str(error)[:120]}"
    if reason:
        raise ValueError(reason)


def _refusal(opcode: str, argument: Any, position: int, size: int) -> str | None:
    if opcode not in _OPCODES:
        return f"contains the pickle instruction {opcode}, which is not let in: only bytes and truth values are"
    # the unpickler reserves memory for a frame of any length, and up to a place of any number
    if opcode == "FRAME" and argument > size:
        return f"is damaged: it announces {argument} bytes, but has {size}"
    if opcode in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
        return f"is damaged: it stores something at place {argument} of {position}"
    return None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, never the real thing."""
        for known_module, known_name, stand_in in _GLOBALS:
            if (module, name) == (known_module, known_name):
                return stand_in
        raise pickle.UnpicklingError(f"names {module}.{name}, which is not let in: only bytes and truth values are")


def _encode(text: str, codec: str) -> bytes:
    """Stand in for `_codecs.encode`, the way in which protocol 2 of Python 3 writes bytes."""
    if codec not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("bytes in a codec other than latin1")
    return text.encode("latin-1")


class _DType:
    """Stands in for `numpy.dtype`; only the name counts."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Take byte order and alignment, which mean nothing for single bytes."""

    def items(self, data: Any) -> Any:
        """Return what an array holds: a list of objects, truth values, or the bytes themselves."""
        if self.name in ("O8", "O", "|O") and isinstance(data, list):
            return data
        if self.name == "b1" and isinstance(data, bytes | bytearray):
            return [bool(value) for value in data]
        if self.name in ("u1", "i1") and isinstance(data, bytes | bytearray):
            return bytes(data)
        raise pickle.UnpicklingError(f"holds an array of {str(self.name)[:20]!r}; expected bytes or truth values")


class _Array:
    """Stands in for `numpy.ndarray`."""

    items: Any = None

    @classmethod
    def reconstruct(cls, *_: Any) -> _Array:
        """Stand in for `_reconstruct`: an array that is filled afterwards."""
        return cls()

    @classmethod
    def from_buffer(cls, data: Any, dtype: _DType, *_: Any) -> _Array:
        """Stand in for `_frombuffer`, the form of protocol 5."""
        made = cls()
        made.items = dtype.items(data)
        return made

    def __setstate__(self, state: tuple[Any, Any, _DType, Any, Any]) -> None:
        """Take version, shape, dtype, order and content."""
        _, _, dtype, _, data = state
        self.items = dtype.items(data)


def _scalar(dtype: _DType, data: Any) -> Any:
    """Stand in for `scalar`: a truth value of NumPy."""
    return dtype.items(data)[0]


_CORES: tuple[str, ...] = ("numpy.core", "numpy._core")
_GLOBALS: tuple[tuple[str, str, Any], ...] = (
    ("_codecs", "encode", _encode),
    ("numpy", "ndarray", _Array),
    ("numpy", "dtype", _DType),
    *((f"{core}.multiarray", "_reconstruct", _Array.reconstruct) for core in _CORES),
    *((f"{core}.multiarray", "scalar", _scalar) for core in _CORES),
    *((f"{core}.numeric", "_frombuffer", _Array.from_buffer) for core in _CORES),
)


def _items(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    items = value.items if isinstance(value, _Array) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{what} are a {type(items).__name__}; expected a list")
    return items


def _picture(value: Any, index: int) -> bytes:
    data = value.items if isinstance(value, _Array) else value
    if not isinstance(data, bytes):
        raise ValueError(f"picture {index} is a {type(data).__name__}; expected the bytes of a picture file")
    return data


def _truth(value: Any, index: int) -> bool:
    if value not in (0, 1) or not isinstance(value, int):
        raise ValueError(f"truth value {index} is a {type(value).__name__}; expected true or false")
    return bool(value)
