"""Choice and use of the engine that computes the pooled features of a frozen backbone.

The engine is chosen once per dataset, before features are computed. Its name is part of the name of the cached file, because features of
different engines differ by rounding errors.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.compilation.agreement import relative_error
from zoo.compilation.compile import compile
from zoo.compilation.conversion import FEATURES, Conversion
from zoo.compilation.tuning import candidates
from zoo.engines import ENGINES
from zoo.errors import ZooError
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.fingerprint import trunk_fingerprint
from zoo.models.model import Model
from zoo.system.hardware import autocast
from zoo.system.precision import EnginePrecision, Precision
from zoo.system.wording import reason
from zoo.task.head import PooledHead, RememberingHead

Rows = NDArray[np.float32]
Compute = Callable[[ImageBatch], Rows]

# Maximum allowed difference from the features of the engine eager, relative to the largest value. Measured on trained and random backbones:
# 2e-7 to 4e-7 (rounding) in float32, 1e-3 to 7e-3 in bf16.
_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
_TUNE_SECONDS = 20.0  # time limit for measuring the speed of engines
_PAYS = 3  # engines are measured only if eager would need at least this many times `_TUNE_SECONDS`


def usable_engines(model: Model, precision: Precision) -> list[str]:
    """Return the installed engines besides eager for a model's features; they need the CPU, fp32 or bf16, and a single image size."""
    if model.device.type != "cpu" or model.preprocess.pads or (precision != "fp32" and precision != "bf16"):
        return []
    return [name for name, _ in candidates(precision) if name != "eager"]


def choose_engine(
    model: Model, precision: Precision, images: ImageBatch, batches: int, engines: Sequence[str], say: Callable[[str], None]
) -> str:
    """Choose the engine for computing the features of a dataset, and return its name.

    If computation with eager takes long enough, the fastest engine is determined by `zoo.compile(engine="auto")`. It is chosen if its
    features agree with those of eager. In all other cases, eager is chosen.

    The model must be in evaluation mode. `images` is one of the `batches` batches of the dataset, and `engines` may be chosen in addition
    to eager. If engines were measured, `say` receives a line about the choice.
    """
    if not engines:
        return "eager"
    for _ in range(2):  # the first call also allocates memory, so a slow first call is measured again
        start = time.perf_counter()
        wanted = torch.from_numpy(eager_features(model, images, precision))
        if batches * (time.perf_counter() - start) < _PAYS * _TUNE_SECONDS:
            return "eager"
    settled: EnginePrecision = "bf16" if precision == "bf16" else "fp32"
    engine = "auto"
    try:
        engine = compile(_comparable(model, wanted), engine, settled, batch_size=len(images), tune_seconds=_TUNE_SECONDS).making.engine
        if engine not in engines:
            return "eager"
        error = relative_error(wanted, torch.from_numpy(engine_features(model, engine, precision)(images)))
    except Exception as failed:  # engines may raise any exception; eager always works
        say(f"features are computed with eager; the engine {engine} failed: {failed if isinstance(failed, ZooError) else reason(failed)}")
        return "eager"
    if not error <= _BOUNDS[precision]:  # true for NaN as well
        say(
            f"features are computed with eager, because those of the engine {engine} ({precision}) have a relative error of {error:.2g} "
            f"(maximum: {_BOUNDS[precision]:g})"
        )
        return "eager"
    say(f"features are computed with the engine {engine} ({precision}); maximum relative error {error:.1e}")
    return engine


def _comparable(model: Model, pooled: Tensor) -> Model:
    """Return a model that can predict, as `compile` requires: for a head that must store features first, a copy that stores `pooled`."""
    if not isinstance(model.head, RememberingHead):
        return model
    copied = copy.deepcopy(model)
    assert isinstance(copied.head, RememberingHead)
    copied.head.remember(pooled, torch.zeros(len(pooled), dtype=torch.int64))
    return copied


def eager_features(model: Model, images: ImageBatch, precision: Precision) -> Rows:
    """Compute the pooled features of a batch with eager, and return them as [B, C] float32."""
    head = model.head
    assert isinstance(head, PooledHead)
    images = images.to(model.device)
    with torch.inference_mode(), autocast(precision, model.device):
        pooled: Rows = head.pool(model.features(images), images).cpu().numpy()
    return pooled


def engine_features(model: Model, engine: str, precision: Precision) -> Compute:
    """Return a function that computes the pooled features of a model, in evaluation mode on the CPU, with an engine.

    Raise an `InputError` if the engine can't convert backbone and pooling.
    """
    settled: EnginePrecision = "bf16" if precision == "bf16" else "fp32"
    conversion = Conversion(model, trunk_fingerprint(model), ENGINES[engine](), settled, torch.get_num_threads())
    run = conversion.started(FEATURES, model.preprocess.size_hw)

    def compute(images: ImageBatch) -> Rows:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            (pooled,) = run(as_float(images.pixels))
        rows: Rows = pooled.numpy().copy()  # the engine may overwrite its output in the next call
        return rows

    return compute
