"""Cache of converted networks on disk, with keys made from the model, the network, the engine and its versions."""

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
_REVISION = 4  # of the conversion and quantisation code; increase it to invalidate cached networks


def network_key(fingerprint: str, network: Network, engine: Engine, samples: Sequence[Tensors], judged: bool) -> str:
    """Return the cache key of a converted network.

    Args:
        fingerprint: fingerprint of the model.
        network: network to convert.
        engine: engine that converts the network.
        samples: inputs to calibrate on; empty for a network that is not quantised.
        judged: whether layers may stay unquantised for the sake of the score.
    """
    digest = hashlib.blake2b()
    shapes = [list(each.shape[2:]) for each in network.example]
    content: list[Any] = [_REVISION, fingerprint, network.name, shapes, network.free, engine.name, judged]
    for package in ("resnet-zoo", "torch", *engine.distributions):
        with contextlib.suppress(PackageNotFoundError):
            content.append(version(package))
    digest.update(json.dumps(content).encode())
    for inputs in samples:
        for tensor in inputs:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()[:_LENGTH]


def converted(engine: Engine, key: str, convert: Callable[[], Any]) -> Any:
    """Return a converted network from the cache, or convert it and add it to the cache.

    Args:
        engine: engine of the network.
        key: cache key, as returned by `network_key`.
        convert: function that converts the network.

    Raises:
        InputError: the network can't be converted.
    """
    folder = cache_folder("networks")
    with contextlib.suppress(Exception):  # missing, damaged or unreadable: convert again
        return _read(engine, folder, key)
    made = convert()
    with contextlib.suppress(OSError, RuntimeError):  # no space or no permission: go on without the cache
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
    write_text(folder / f"{key}.json", json.dumps(digests))  # last: files that aren't listed there are not read
    shrink(folder, LIMIT_BYTES, [folder / f"{key}.json"])
