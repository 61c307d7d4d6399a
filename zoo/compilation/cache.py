"""Cache of converted networks on disk. The cache key depends on the model, the network, the engine and package versions."""

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
_REVISION = 4  # revision of the conversion and quantisation code; increase it to invalidate cached networks


def network_key(fingerprint: str, network: Network, engine: Engine, samples: Sequence[Tensors], judged: bool) -> str:
    """Return the cache key of a converted network.

    Args:
        fingerprint: fingerprint of the model.
        network: the network.
        engine: engine that converts the network.
        samples: inputs for calibration; empty for a network that is not quantised.
        judged: whether a scorer decides which layers stay unquantised.
    """
    shapes = [list(each.shape[2:]) for each in network.example]
    content: list[Any] = [_REVISION, fingerprint, network.name, shapes, network.free, engine.name, judged]
    for package in ("resnet-zoo", "torch", *engine.distributions):
        with contextlib.suppress(PackageNotFoundError):
            content.append(version(package))
    digest = hashlib.blake2b(json.dumps(content).encode())
    for inputs in samples:
        for tensor in inputs:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()[:_LENGTH]


def converted(engine: Engine, key: str, convert: Callable[[], Any]) -> Any:
    """Return the converted network from the cache, or call `convert` and add the result to the cache."""
    folder = cache_folder("networks")
    listing, name = folder / f"{key}.json", f"{key}{engine.suffix}"
    with contextlib.suppress(Exception):  # the entry is missing, damaged or unreadable: convert again
        for file, digest in json.loads(listing.read_text(encoding="utf-8")).items():
            if file_fingerprint(folder / file) != digest:
                raise ValueError(file)
            mark_used(folder / file)
        mark_used(listing)
        return engine.read(folder / name)
    made = convert()
    with contextlib.suppress(OSError, RuntimeError):  # no space or no permission: continue without the cache
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
            engine.write(made, Path(draft) / name)
            files = sorted(Path(draft).iterdir())
            digests = {path.name: file_fingerprint(path) for path in files}
            for path in files:
                os.replace(path, folder / path.name)
        write_text(listing, json.dumps(digests))  # written last, because files that it doesn't list are never read
        shrink(folder, LIMIT_BYTES, [listing])
    return made
