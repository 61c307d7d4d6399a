"""Converted networks on disk, so that a model is converted once: found again by the model, the network, the engine and its version."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.fingerprint import file_fingerprint
from zoo.engines import Engine, Network, Tensors
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_text

_LENGTH = 24
_WAY = 4  # in which networks are converted and quantised here; after a change of it they are made anew


def network_key(fingerprint: str, network: Network, engine: Engine, samples: Sequence[Tensors], judged: bool) -> str:
    """Return what a converted network is known by.

    Args:
        fingerprint: of the model.
        network: of it.
        engine: that converts it.
        samples: that it is quantised with; none for a network that isn't.
        judged: whether layers were left as they were, for the sake of the score.
    """
    digest = hashlib.blake2b()
    shapes = [list(each.shape[2:]) for each in network.example]
    content: list[Any] = [_WAY, fingerprint, network.name, shapes, network.free, engine.name, judged]
    for package in ("resnet-zoo", "torch", *engine.distributions):
        with contextlib.suppress(PackageNotFoundError):
            content.append(version(package))
    digest.update(json.dumps(content).encode())
    for inputs in samples:
        for tensor in inputs:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()[:_LENGTH]


def converted(engine: Engine, key: str, convert: Callable[[], Any]) -> Any:
    """Return a network in an engine's form: out of the cache, where it stands there whole, or converted now and put there.

    Args:
        engine: of the network.
        key: of `network_key`.
        convert: makes it.

    Raises:
        InputError: it can't be converted.
    """
    folder = cache_folder("networks")
    with contextlib.suppress(Exception):  # missing, damaged, of a file system that is gone: it is made anew
        return _read(engine, folder, key)
    made = convert()
    with contextlib.suppress(OSError, RuntimeError):  # no room, or no right to write: it does without
        _write(engine, folder, key, made)
    return made


def _read(engine: Engine, folder: Path, key: str) -> Any:
    digests = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
    for name, digest in digests.items():
        if file_fingerprint(folder / name) != digest:
            raise ValueError(name)
        mark_used(folder / name)
    mark_used(folder / f"{key}.json")
    return engine.read(folder / f"{key}{engine.suffix}")


def _write(engine: Engine, folder: Path, key: str, made: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
        engine.write(made, Path(draft) / f"{key}{engine.suffix}")
        files = sorted(Path(draft).iterdir())
        digests = {path.name: file_fingerprint(path) for path in files}
        for path in files:
            os.replace(path, folder / path.name)
    write_text(folder / f"{key}.json", json.dumps(digests))  # last: what isn't listed there is not looked at
    shrink(folder, LIMIT_BYTES, [folder / f"{key}.json"])
