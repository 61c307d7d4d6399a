"""Kernels in C++, which the machine's own compiler makes for its own processor, once: where there is none, torch computes.

They are plain functions on pointers, so that making one takes two to four seconds, and share torch's threads: OpenMP's functions are found
among those that torch has loaded. (As with torch's own, a process that is forked afterwards has to do with one thread.) Made ones are kept
in the cache by source, compiler, processor and their own content. They are code: from a folder that others may write to, none is loaded.
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
_WIDE = ("-mprefer-vector-width=512",)  # compilers halve vectors by themselves, for processors of long ago
_SECONDS = 120  # that a compiler may take
_LENGTH = 24


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """Return the functions of `NAME.cpp`; None where they can't be had here: there is no compiler, or it can't make them.

    Args:
        name: of a file beside this one.
    """
    compiler = shutil.which("g++") if sys.platform == "linux" else None
    if compiler is None:
        return None
    try:
        source = files("zoo.kernels").joinpath(f"{name}.cpp").read_text(encoding="utf-8")
        words = [compiler, *_FLAGS, *(_WIDE if platform.machine() == "x86_64" else ())]
        made_of = (source, words, _output([compiler, "--version"]), cpu_name(), sorted(cpu_capabilities().items()))
        with contextlib.suppress(OSError, RuntimeError):  # no home, no room, no right to write or to load from there
            return _kept(cache_folder("kernels"), _digest(repr(made_of).encode()), source, words)
        with tempfile.TemporaryDirectory() as folder:
            return ctypes.CDLL(str(_compile(Path(folder), source, words)))
    except (OSError, subprocess.SubprocessError):
        return None


class _Address(ctypes.c_void_p):
    """Where numbers lie, which are kept as long as it is."""

    owner: Tensor | NDArray[Any] | None = None


def address(values: Tensor | NDArray[Any] | None) -> ctypes.c_void_p:
    """Return where the numbers of a tensor or an array begin; null for None."""
    place = values.ctypes.data if isinstance(values, np.ndarray) else None if values is None else values.data_ptr()
    found = _Address(place)
    found.owner = values
    return found


def sizes(*values: int) -> tuple[ctypes.c_int64, ...]:
    """Return whole numbers as kernels take them."""
    return tuple(ctypes.c_int64(value) for value in values)


def threads() -> ctypes.c_int:
    """Return how many threads kernels may have: as many as torch."""
    return ctypes.c_int(torch.get_num_threads())


def is_watched() -> bool:
    """Tell whether something has to see torch's own functions: checkpointing, which compares what is kept for backward, or torch.func."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    transforms = getattr(torch._C, "_are_functorch_transforms_active", None)
    return hooks is None or transforms is None or hooks(True) is not None or transforms()


def _kept(folder: Path, key: str, source: str, words: list[str]) -> ctypes.CDLL:
    """Load from the cache; what isn't there, or is damaged, is made first.

    Raises:
        OSError: the folder can't be written to, is another user's, or what is made can't be loaded: OpenMP's functions are not
            those that torch has, for one.
        subprocess.SubprocessError: the compiler can't make it, or not in time.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise PermissionError(f"{folder} is another user's, or others may write to it")
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
    """Compile, and return the library's file.

    Raises:
        OSError: there is no room, or no compiler any more.
        subprocess.SubprocessError: the compiler can't make it, or not in time.
    """
    code, part, made = (folder / f"kernel{suffix}" for suffix in (".cpp", ".o", ".so"))
    code.write_text(source, encoding="utf-8")
    _output([*words, "-c", str(code), "-o", str(part)])
    _output([words[0], "-shared", str(part), "-o", str(made)])  # without -fopenmp, which would bring threads of its own beside torch's
    return made


def _output(words: list[str]) -> bytes:
    """Run a compiler in a session of its own, where no Ctrl-C reaches it: a step that is under way ends as it would have.

    Raises:
        OSError: it isn't there.
        subprocess.SubprocessError: it fails, or takes too long.
    """
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return output
