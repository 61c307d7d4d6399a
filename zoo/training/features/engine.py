"""The engine that computes the pooled features of a frozen backbone.

It is chosen once, before the first image, and is part of the cache's key: features of two engines differ in their last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.compilation.agreement import relative_error
from zoo.compilation.compile import compile
from zoo.compilation.conversion import FEATURES, Conversion
from zoo.compilation.tuning import candidates
from zoo.engines import ENGINES, EnginePrecision
from zoo.errors import ZooError
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.fingerprint import trunk_fingerprint
from zoo.models.model import Model
from zoo.system.hardware import Precision, autocast
from zoo.task.pooling import PooledHead

Rows = NDArray[np.float32]
Compute = Callable[[ImageBatch], Rows]

# Largest difference from eager's features, relative to the largest value. Measured on trained and random backbones: float32 2e-7 to 4e-7
# (rounding), bf16 1e-3 to 7e-3.
_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
_TUNE_SECONDS = 20.0
_PAYS = 3  # features must take this many times as long as choosing an engine may take


def usable_engines(model: Model, precision: Precision) -> list[str]:
    """Return the engines installed here that can compute a model's features; eager isn't listed.

    Engines compute on the CPU, in float32 or bf16, for one image size.
    """
    if model.device.type != "cpu" or model.preprocess.pads or (precision != "fp32" and precision != "bf16"):
        return []
    return [name for name, _ in candidates(precision) if name != "eager"]


def choose_engine(
    model: Model, precision: Precision, images: ImageBatch, batches: int, engines: Sequence[str], say: Callable[[str], None]
) -> str:
    """Return the engine for a dataset's features: the fastest by `zoo.compile(engine="auto")` where the work is long enough, else eager.

    Args:
        model: model in evaluation mode.
        precision: precision of the backbone.
        images: a batch of the dataset.
        batches: number of batches.
        engines: names of engines that may be used.
        say: callback that receives one line about the choice.
    """
    if not engines:
        return "eager"
    eager_features(model, images, precision)  # the first call allocates memory
    start = time.perf_counter()
    wanted = eager_features(model, images, precision)
    if batches * (time.perf_counter() - start) < _PAYS * _TUNE_SECONDS:
        return "eager"
    settled: EnginePrecision = "bf16" if precision == "bf16" else "fp32"
    try:
        engine = compile(model, "auto", settled, batch_size=len(images), tune_seconds=_TUNE_SECONDS).making.engine
        if engine == "eager" or engine not in engines:
            return "eager"
        error = relative_error(torch.from_numpy(wanted), torch.from_numpy(engine_features(model, engine, precision)(images)))
    except ZooError as failed:
        say(f"features are computed by eager: {failed}")
        return "eager"
    if not error <= _BOUNDS[precision]:  # also for NaN
        say(f"features are computed by eager: those of {engine} differ by {error:.2g} of the largest value (limit {_BOUNDS[precision]:g})")
        return "eager"
    say(f"features are computed by {engine}, {precision}: largest relative error {error:.1e}")
    return engine


def eager_features(model: Model, images: ImageBatch, precision: Precision) -> Rows:
    """Return the input of a pooled head, computed in eager: [B, C] float32."""
    head = model.head
    assert isinstance(head, PooledHead)
    with torch.inference_mode(), autocast(precision, model.device):
        pooled: Rows = head.pool(model.features(images.to(model.device))).cpu().numpy()
    return pooled


def engine_features(model: Model, engine: str, precision: Precision) -> Compute:
    """Convert backbone and pooling for an engine (or load them from the cache), and return the function that computes features.

    Args:
        model: model in evaluation mode, on the CPU.
        engine: name of the engine.
        precision: "fp32" or "bf16".

    Raises:
        InputError: the engine can't convert them.
    """
    settled: EnginePrecision = "bf16" if precision == "bf16" else "fp32"
    conversion = Conversion(model, trunk_fingerprint(model), ENGINES[engine](), settled, torch.get_num_threads())
    run = conversion.started(FEATURES, model.preprocess.size_hw)

    def compute(images: ImageBatch) -> Rows:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            (pooled,) = run(as_float(images.pixels))
        rows: Rows = pooled.numpy().copy()  # an engine's output is overwritten by its next call
        return rows

    return compute
