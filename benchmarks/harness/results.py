"""Finished cases on disk, one JSON file each, from which an interrupted benchmark continues."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zoo
from zoo.benchmarks.harness.report import REPORT_VERSION, CaseReport, finite
from zoo.benchmarks.harness.suite import Case
from zoo.system.disk import storing
from zoo.system.files import write_text

FOLDER = "cases"  # in the output folder of a benchmark
_SOURCES = (".py", ".cpp", ".h")
_NOT_MEASURED = ("expect", "timeout", "memory_mib")  # settings that don't change what a case measures
_LENGTH = 16  # hexadecimal digits of a fingerprint
_REMEDY = "then run the same command again: it continues after the cases that are stored"


class Results:
    """Finished cases in the folder `cases` of a benchmark's output folder.

    A file belongs to a case with a fingerprint: of the case's settings, the zoo's sources, the data and the machine with its software.
    A case is therefore run again after any of them has changed.
    """

    def __init__(self, folder: Path, machine: Mapping[str, Any]) -> None:
        self.folder, self.machine = folder / FOLDER, dict(machine)

    def find(self, case: Case, inputs: Mapping[str, Any]) -> CaseReport | None:
        """Return the result of a case, with its current expected values; None if it isn't stored, has failed, or can't be read.

        `inputs` are those of `inputs(case)`.
        """
        try:
            content = json.loads(self._path(inputs).read_text(encoding="utf-8"))
            found = CaseReport.from_dict({**content["case"], "expect": case.expect, "settings": asdict(case)})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # absent, damaged, or of another version: the case is run
        return found if content.get("version") == REPORT_VERSION and found.measurement is not None else None

    def add(self, inputs: Mapping[str, Any], report: CaseReport) -> Path:
        """Store the result of a case atomically and return the file. `inputs` are those from before the run.

        Raises:
            StorageError: the disk is full or not writable.
        """
        path = self._path(inputs)
        content = {"version": REPORT_VERSION, "inputs": inputs, "case": finite(report.to_dict())}
        with storing(path, remedy=_REMEDY):
            write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return path

    def inputs(self, case: Case) -> dict[str, Any]:
        """Return everything on which the result of a case depends, as JSON values."""
        settings = {name: value for name, value in asdict(case).items() if name not in _NOT_MEASURED}
        return {"settings": settings, "code": code_fingerprint(), "data": data_stamps(case), "machine": self.machine}

    def _path(self, inputs: Mapping[str, Any]) -> Path:
        name = re.sub(r"[^A-Za-z0-9.@=-]+", "_", inputs["settings"]["name"])[:80]
        return self.folder / f"{name}-{_digest(json.dumps(inputs, sort_keys=True))}.json"


@functools.cache
def code_fingerprint() -> str:
    """Return a fingerprint of the zoo's source files, tasks and benchmarks included."""
    root = Path(zoo.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(_files(root, links=True)):
        if path.suffix in _SOURCES:
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:_LENGTH]


@functools.cache
def commit() -> str | None:
    """Return the git commit of the zoo's checkout, with "+" appended if files differ from it; None if it isn't installed from one."""
    root = Path(zoo.__file__).parents[1]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def data_stamps(case: Case) -> dict[str, str]:
    """Return a stamp of each file or folder that the case reads: of the names, sizes and modification times of its files.

    It detects changed data without reading it. Built-in data is part of the zoo's sources.
    """
    values = [value for each in (case.test, case.train) if each for value in ([each] if isinstance(each, str) else each.values())]
    values += [value for value in (case.weights, case.calibration) if value]
    return {str(path): _stamp(path) for value in values for path in _named_paths(value)}


def _named_paths(value: str) -> Iterator[Path]:
    """Yield the paths that a dataset string or the name of weights refers to. The first may not exist (yet)."""
    body, _, query = value.partition("?")
    scheme, colon, rest = body.partition(":")
    candidates = [Path(value), Path(unquote(rest if colon and len(scheme) > 1 else body)).expanduser()]
    yield next((path for path in candidates if os.path.lexists(path)), candidates[-1])
    for part in query.split("&"):
        path = Path(unquote(part.partition("=")[2]))
        for option in {path, candidates[-1] / path}:
            if path.parts and option.is_file():
                yield option


def _stamp(path: Path) -> str:
    if not path.exists():
        return "absent"
    files = sorted(_files(path)) if path.is_dir() else [path]
    lines = []
    for file in files:
        found = file.lstat() if not file.exists() else file.stat()
        lines.append(f"{file.relative_to(path)}\t{found.st_size}\t{found.st_mtime_ns}")
    return _digest("\n".join(lines))


def _files(folder: Path, links: bool = False) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=links):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]
        yield from (Path(place) / name for name in names)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]
