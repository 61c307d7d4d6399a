"""Kernels in C++, which the machine's own compiler makes for its own processor, once: where there is none, torch computes.

They are plain functions on pointers, so that making them takes two seconds, and share torch's threads: OpenMP's functions are found
among those that torch has loaded. Made ones are kept in the cache by source, compiler and processor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from zoo.hardware import cpu_capabilities, cpu_name
from zoo.network_cache import converted

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-std=c++17")
_SECONDS = 120  # that a compiler may take


@dataclass(frozen=True)
class _Made:
    """A library that is loaded, and the file that it was loaded from."""

    library: ctypes.CDLL
    content: bytes


class _Form:
    """How it is kept."""

    suffix = ".so"

    def write(self, converted: _Made, path: Path) -> None:
        """Write the file."""
        path.write_bytes(converted.content)

    def read(self, path: Path) -> _Made:
        """Load it."""
        return _Made(ctypes.CDLL(str(path)), path.read_bytes())


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """Return the functions of `NAME.cpp`; None where they can't be had here: there is no compiler, or it can't make them.

    Args:
        name: of a file beside this one.
    """
    compiler = shutil.which("g++") if sys.platform == "linux" else None
    if compiler is None:
        return None
    source = files("zoo.native").joinpath(f"{name}.cpp").read_text(encoding="utf-8")
    try:
        made = converted(_Form(), _key(source, compiler), lambda: _compile(source, compiler), "kernels")
    except (OSError, subprocess.SubprocessError):
        return None
    library: ctypes.CDLL = made.library
    return library


def _key(source: str, compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, timeout=_SECONDS).stdout
    digest = hashlib.blake2b(repr((source, version, _flags(), cpu_name(), sorted(cpu_capabilities().items()))).encode())
    return digest.hexdigest()[:24]


def _flags() -> tuple[str, ...]:
    # it halves them by itself, for processors of long ago
    return (*_FLAGS, "-mprefer-vector-width=512") if platform.machine() in ("x86_64", "AMD64") else _FLAGS


def _compile(source: str, compiler: str) -> _Made:
    """Compile and load.

    Raises:
        OSError: the library can't be loaded: functions of OpenMP that torch doesn't have, for one.
        subprocess.SubprocessError: the compiler can't make it, or not in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, object_file, made = (Path(folder) / f"kernel{suffix}" for suffix in (".cpp", ".o", ".so"))
        path.write_text(source, encoding="utf-8")
        # linked without -fopenmp, which would bring threads of its own beside torch's
        for words in (("-c", path, "-o", object_file, *_flags()), ("-shared", object_file, "-o", made)):
            subprocess.run([compiler, *map(str, words)], check=True, capture_output=True, timeout=_SECONDS)
        return _Form().read(made)
