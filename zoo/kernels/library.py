"""Compilation and loading of C++ kernels. Without a compiler, torch's own kernels are used.

A kernel is compiled once for the machine's processor. Kernels are plain functions on pointers, so that compilation takes only two to four
seconds. They share torch's threads, because their OpenMP functions are resolved to those that torch has loaded. As with torch's kernels, a
process that is forked after their first use is limited to one thread. Compiled kernels are cached by source, compiler, processor and
content. For security, kernels are never loaded from a folder that other users may write to.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.hardware import cpu_capabilities, cpu_name

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-std=c++17")
_WIDE = ("-mprefer-vector-width=512",)  # by default, compilers use vectors of half this width, in favour of old processors
_SECONDS = 120  # time limit of the compiler
_LENGTH = 24


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """Return the compiled library of `{name}.cpp`; None if there is no compiler or compilation fails."""
    compiler = shutil.which("g++") if sys.platform == "linux" else None
    if compiler is None:
        return None
    try:
        source = files("zoo.kernels").joinpath(f"{name}.cpp").read_text(encoding="utf-8")
        words = [compiler, *_FLAGS, *(_WIDE if platform.machine() == "x86_64" else ())]
        made_of = (source, words, _output([compiler, "--version"]), cpu_name(), sorted(cpu_capabilities().items()))
        with contextlib.suppress(OSError, RuntimeError):  # no home folder, no space, no permission to write or load there
            return _kept(cache_folder("kernels"), _digest(repr(made_of).encode()), source, words)
        with tempfile.TemporaryDirectory() as folder:
            return ctypes.CDLL(str(_compile(Path(folder), source, words)))
    except (OSError, subprocess.SubprocessError):
        return None


class _Address(ctypes.c_void_p):
    """A pointer that keeps the array it points to alive."""

    owner: Tensor | NDArray[Any] | None = None


def address(values: Tensor | NDArray[Any] | None) -> ctypes.c_void_p:
    """Return a pointer to the data of a tensor or an array; null for None."""
    place = values.ctypes.data if isinstance(values, np.ndarray) else None if values is None else values.data_ptr()
    found = _Address(place)
    found.owner = values
    return found


def sizes(*values: int) -> tuple[ctypes.c_int64, ...]:
    """Convert integers to the C type of the kernels' size parameters."""
    return tuple(ctypes.c_int64(value) for value in values)


def threads() -> ctypes.c_int:
    """Return the number of threads that kernels may use, which is torch's number of threads."""
    return ctypes.c_int(torch.get_num_threads())


def is_watched() -> bool:
    """Return whether torch's own functions must be used.

    This is the case within activation checkpointing, which compares the tensors saved for backward, and within torch.func transforms.
    """
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    transforms = getattr(torch._C, "_are_functorch_transforms_active", None)
    return hooks is None or transforms is None or hooks(True) is not None or transforms()


def _kept(folder: Path, key: str, source: str, words: list[str]) -> ctypes.CDLL:
    """Load a library from the cache, and compile it first if it is missing or damaged.

    Raise an `OSError` if the folder isn't writable or belongs to another user, or the library can't be loaded, for example because its
    OpenMP functions aren't those that torch has loaded.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise PermissionError(f"{folder} belongs to another user, or others may write to it")
    for path in folder.glob(f"{key}-*.so"):
        if path.name == f"{key}-{_digest(path.read_bytes())}.so":
            mark_used(path)
            return ctypes.CDLL(str(path))
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
        made = _compile(Path(draft), source, words)
        found = ctypes.CDLL(str(made))
        path = folder / f"{key}-{_digest(made.read_bytes())}.so"
        os.replace(made, path)
    shrink(folder, LIMIT_BYTES, [path])
    return found


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()[:_LENGTH]


def _compile(folder: Path, source: str, words: list[str]) -> Path:
    """Compile a source, and return the path of the library."""
    code, part, made = (folder / f"kernel{suffix}" for suffix in (".cpp", ".o", ".so"))
    code.write_text(source, encoding="utf-8")
    _output([*words, "-c", str(code), "-o", str(part)])
    _output([words[0], "-shared", str(part), "-o", str(made)])  # without -fopenmp, which would load a second OpenMP runtime next to torch's
    return made


def _output(words: list[str]) -> bytes:
    """Run a compiler and return its output. Its own session keeps Ctrl-C from interrupting it, so that the training step can finish."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # including its child processes
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return output
