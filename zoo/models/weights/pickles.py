"""Read pickles of PyTorch without running code: `weights_only=True`, with inert stand-ins for an allow-list of harmless classes.

Checkpoints of common trainers contain the arguments of the run, NumPy scores, paths and dates beside the weights. For each of these
classes, the unpickler gets a stand-in of this module in its place, so that neither the class nor its constructor is ever called. NumPy
arrays are rebuilt from their bytes. Anything else is refused by torch's unpickler before it is created.
"""

from __future__ import annotations

import _compat_pickle
import contextlib
import io
import math
import pickletools
import re
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from zoo.errors import WeightsError
from zoo.images.unsupported import describe


class _Inert:
    """Stand-in for an object whose content is irrelevant. It accepts any arguments and state, and keeps none of them."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _NoBytes(_Inert):
    """Stand-in for `bytes`, which pickles of protocol 2 call, without arguments, only for an empty value."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return b""


class _DType(_Inert):
    """Stand-in for `numpy.dtype`, which keeps the name of the type and its byte order."""

    def __init__(self, *args: object) -> None:
        self.name, self.order = args[0] if args else None, "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|"):
            self.order = state[1]


class _Array(_Inert):
    """Stand-in for `numpy.ndarray`, which keeps the pickled state."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def tensor(self) -> Tensor | None:
        """Return the array as a tensor; None if it isn't an array of numbers."""
        if not (isinstance(self.state, tuple) and len(self.state) == 5):
            return None
        _, shape, dtype, fortran, raw = self.state
        if not (isinstance(dtype, _DType) and isinstance(dtype.name, str) and isinstance(raw, bytes) and isinstance(shape, tuple)):
            return None
        if dtype.name not in _NUMBERS or not all(type(side) is int and side >= 0 for side in shape):
            return None
        kind = np.dtype(dtype.order.replace("|", "<") + dtype.name)
        if len(raw) != math.prod(shape) * kind.itemsize:
            return None
        return torch.from_numpy(np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C").astype(kind.newbyteorder("=")))


# name, first bytes and their offset of archives that torch.save doesn't write
_ARCHIVES = (("gzip", b"\x1f\x8b", 0), ("bzip2", b"BZh", 0), ("xz", b"\xfd7zXZ", 0), ("7-Zip", b"7z\xbc\xaf", 0), ("tar", b"ustar", 257))
_SCANNED = 1 << 26  # number of bytes in which the classes for an error message are looked up
_REASON = re.compile(r"WeightsUnpickler error:\s*(\S.*)|^(?!Weights only load failed)(.+)")  # without torch's advice to its own users
_NUMBERS = ("b1", "i1", "u1", "i2", "i4", "i8", "f2", "f4", "f8")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_PATHS = ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
# full name in the file -> stand-in; torch itself allows OrderedDict, Counter, set, complex, bytes, and the parts of tensors
_ALLOWED: dict[str, type[_Inert]] = {
    "argparse.Namespace": _Inert,
    "types.SimpleNamespace": _Inert,
    **{f"{module}.{name}": _Inert for module in ("pathlib", "pathlib._local") for name in _PATHS},
    **{f"datetime.{name}": _Inert for name in ("datetime", "date", "time", "timedelta", "timezone")},
    **{f"{module}.scalar": _Inert for module in _NUMPY},
    **{f"{module}._reconstruct": _Array for module in _NUMPY},
    "builtins.bytes": _NoBytes,
    "numpy.ndarray": _Inert,
    "torch.torch_version.TorchVersion": _Inert,
    "numpy.dtype": _DType,
}


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read the tensors and NumPy arrays in a pickle that `torch.save` wrote, without running code.

    Keys of nested dictionaries are joined with dots.

    Raises:
        WeightsError: the file is damaged, or contains an object of a class off the allow-list, which the message names with its key.
    """
    if _holds(path, "/constants.pkl"):
        raise WeightsError(
            f"weights {path}: the file is a TorchScript archive, which contains code and is never run. Save the weights alone: "
            "torch.save(model.state_dict(), …)"
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _ALLOWED.items()]):
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # the error raised below is clearer
            return dict(_tensors(torch.load(path, map_location="cpu", weights_only=True), "", set()))
    except Exception as error:  # for damaged files, torch's unpickler raises errors of any class
        if kind := _other_kind(path):
            expected = "" if "archive" in kind else "; expected a file of torch.save"
            raise WeightsError(f"weights {path}: the file is {kind}{expected}") from error
        objects = _foreign_objects(path)
        if not objects:
            reason = match[1] or match[2] if (match := _REASON.search(str(error))) else type(error).__name__
            raise WeightsError(
                f"weights {path}: the file can't be read with weights_only=True ({reason}). It is damaged, or wasn't "
                "written by torch.save with its default pickle protocol"
            ) from error
        some = "; ".join(f"{name} under the key {key!r}" if key else name for name, key in list(objects.items())[:3])
        more = f"; and {len(objects) - 3} more" if len(objects) > 3 else ""
        raise WeightsError(
            f"weights {path}: the file contains Python objects, which are never unpickled because they can run code: {some}{more}. "
            "Save the weights alone: torch.save(model.state_dict(), …)"
        ) from error


def _other_kind(path: Path) -> str:
    """Describe a file that isn't a pickle at all, such as the HTML page of a failed download; return "" if it may be one."""
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start:
        return "empty (0 bytes)"
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "in the format safetensors, so give it the suffix .safetensors"
    archive = next((name for name, sign, place in _ARCHIVES if start.startswith(sign, place)), "")
    if _holds(path, "/data.pkl") is False:
        archive = "zip"
    if archive:
        return f"a {archive} archive; unpack it, and pass the weights file in it"
    return describe(start) if start.lstrip().startswith((b"<", b"version https://git-lfs")) else ""


def is_archive(path: Path) -> bool:
    """Return whether a file is an intact zip archive, as torch.save writes them."""
    return _holds(path, "") is not None


def _holds(path: Path, end: str) -> bool | None:
    """Return whether a zip archive contains a file whose path ends so; None for a file that isn't an intact archive."""
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as parts:  # for damaged files, zipfile raises errors of any class
        return any(name.endswith(end) for name in parts.namelist())
    return None


def _tensors(content: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in nested dictionaries, and in lists inside them, with their joined keys; each of these is searched once."""
    if id(content) in seen or not (isinstance(content, Mapping) or (prefix and isinstance(content, list | tuple))):
        return
    seen.add(id(content))
    for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
        if isinstance(value, _Array):
            value = value.tensor()
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        else:
            yield from _tensors(value, f"{prefix}{key}.", seen)


def _foreign_objects(path: Path) -> dict[str, str]:
    """Return the names of classes and functions off the allow-list, with the dictionary key next to the first object of each."""
    found: dict[str, str] = {}
    with contextlib.suppress(Exception):  # damage, after which nothing more can be listed
        allowed = {*_ALLOWED, *torch._weights_only_unpickler._get_allowed_globals()}
        if is_archive(path):
            with zipfile.ZipFile(path) as parts:
                streams = [parts.open(name) for name in parts.namelist() if name.endswith("/data.pkl")]
                contents = [stream.read(_SCANNED) for stream in streams]
        else:
            with path.open("rb") as stream:
                contents = [stream.read(_SCANNED)]
        for content in contents:
            for name, key in _globals(io.BytesIO(content)):
                if name not in allowed:
                    found.setdefault(name, key)
    return found


def _globals(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    """Yield the full name of each class or function in up to five consecutive pickles, with the text before it. Nothing is unpickled."""
    for _ in range(5):  # old files of torch.save start with five pickles
        texts: deque[str] = deque([""] * 3, maxlen=3)
        memo: dict[int, str] = {}
        is_text = False
        memoized = 0
        for code, value, _ in pickletools.genops(stream):
            if code.name == "GLOBAL":
                module, name = str(value).split(" ", 1)
                module, name = _compat_pickle.NAME_MAPPING.get(
                    (module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
                )  # of Python 2, as torch does
                yield f"{module}.{name}", texts[-1]
            elif code.name == "STACK_GLOBAL":
                yield f"{texts[-2]}.{texts[-1]}", texts[-3]
            elif code.name in ("PUT", "BINPUT", "LONG_BINPUT") and is_text:
                memo[int(value or 0)] = texts[-1]
            elif code.name == "MEMOIZE":
                if is_text:
                    memo[memoized] = texts[-1]
                memoized += 1
            elif code.name in ("GET", "BINGET", "LONG_BINGET") and value in memo:
                texts.append(memo[value])
            is_text = isinstance(value, str) and code.name != "GLOBAL"
            if is_text:
                texts.append(str(value))
