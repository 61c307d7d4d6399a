"""By what the pooled features of a frozen trunk are computed: in eager or, where that takes long, by the quickest engine that agrees.

A way to compute is tried on the pictures that are to be computed anyway: an engine first answers for a batch that eager has answered for,
and when it agrees the next batches are its own. What was computed stands, whichever way is taken in the end.

Features of two engines differ in their last bits, and which engine is taken is decided by a clock. So what computed which batch, the
`Turns`, is kept beside the features and in a run's checkpoint: a run that goes on takes features of those turns, or computes them again in
the same turns. A new run takes features as it finds them. Two new runs that each compute their own, as after the cache was cleared, may
differ in the last bits, where there is so much to compute that engines are tried at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.compilation.agreement import relative_error
from zoo.compilation.conversion import FEATURES, Conversion
from zoo.compilation.tuning import GAIN, candidates
from zoo.engines import ENGINES, EnginePrecision
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.fingerprint import trunk_fingerprint
from zoo.models.model import Model
from zoo.system.hardware import Precision
from zoo.training.features.file import Turns

Rows = NDArray[np.float32]
Compute = Callable[[ImageBatch], Rows]

# How far features may be from eager's, as a part of the largest. Measured on trained and random trunks: float32 2e-7 to 4e-7, that is
# rounding, where 16 bits would give 4e-4 and more; bf16 1e-3 to 7e-3 from eager's bf16, which is 3e-3 to 6e-3 from float32 itself
_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
_PAYS = 3  # times as long as a trial costs must the rest take: an engine that gains nothing costs a third at most
_TIMED = 2  # batches of each way, the quicker of which counts: the first is slow, and a busy machine is slow now and then


def usable_engines(model: Model, precision: Precision) -> list[str]:
    """Return the engines of this machine that could compute a model's features, from what is mostly the quickest on; eager isn't listed.

    They compute on the CPU, in float32 or bf16, and are made for one size of pictures.
    """
    if model.device.type != "cpu" or model.preprocess.pads or (precision != "fp32" and precision != "bf16"):
        return []
    return [name for name, _ in candidates(precision) if name != "eager"]


class Computing(Protocol):
    """What computes features, batch by batch."""

    @property
    def turns(self) -> Turns:
        """What has computed which batch."""

    def __call__(self, number: int, images: ImageBatch) -> Rows:
        """Return the features of batch `number`, counted from 0: [B, C]."""


class AsBefore:
    """Computes features again, to the last bit."""

    def __init__(self, model: Model, precision: Precision, turns: Turns, eager: Compute) -> None:
        """Look for the engines.

        Args:
            model: in evaluation mode.
            precision: of the trunk's matrix work.
            turns: in which they were computed.
            eager: computes in eager.

        Raises:
            InputError: one of them isn't usable here.
        """
        self._model, self._precision, self.turns = model, precision, turns
        self._ways: dict[str, Compute] = {"eager": eager}
        usable = usable_engines(model, precision)
        for name in {name for _, name in turns} - {"eager"}:
            if name not in usable:
                missing = ENGINES[name].missing() if name in ENGINES else None
                reason = missing or f"it can't compute this model in {precision} on {model.device}"
                raise InputError(
                    f"the features that this run began with were computed by the engine {name} and are kept no longer, and here it can't "
                    f"compute them again ({reason}); make it usable, or start the run anew in another place (--out)"
                )

    def __call__(self, number: int, images: ImageBatch) -> Rows:
        """Return the features of batch `number`: [B, C].

        Raises:
            InputError: its engine can't take the trunk any more.
        """
        name = next((name for first, name in reversed(self.turns) if first <= number), "eager")
        if name not in self._ways:
            self._ways[name] = engine_features(self._model, name, self._precision)
        return self._ways[name](images)


@dataclass
class _Way:
    """A way to compute.

    Attributes:
        name: of the engine.
        compute: features of pictures.
        error: how far they are from eager's.
        pace: least seconds per picture so far.
        batches: how many it has computed.
    """

    name: str
    compute: Compute
    error: float = 0.0
    pace: float = inf
    batches: int = 0

    def __call__(self, images: ImageBatch) -> Rows:
        start = time.perf_counter()
        rows = self.compute(images)
        self.pace = min(self.pace, (time.perf_counter() - start) / len(images))
        self.batches += 1
        return rows


@dataclass
class Quickest:
    """Computes features in eager, and goes over to an engine that is quicker and agrees, where so much is left that looking for one pays.

    Attributes:
        model: in evaluation mode.
        precision: of the trunk's matrix work.
        batches: how many there are.
        engines: that may be tried, in this order.
        eager: computes in eager.
        say: told what was taken, and what was tried in vain because it doesn't work.
    """

    model: Model
    precision: Precision
    batches: int
    engines: Sequence[str]
    eager: Compute
    say: Callable[[str], None]
    _turns: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._untried = list(self.engines)
        self._best = self._now = self._eager = _Way("eager", self.eager)

    @property
    def turns(self) -> Turns:
        """What has computed which batch."""
        return tuple(self._turns)

    def __call__(self, number: int, images: ImageBatch) -> Rows:
        """Return the features of batch `number`: [B, C]."""
        rows = self._now(images)
        if self._now is self._eager:
            self._reference = images, rows
        if self._now.batches == _TIMED:
            before, self._now = self._now.name, self._judged()
            self._now = self._candidate(len(images), self.batches - number - 1) or self._now
            if self._now.name != before:
                self._turns.append((number + 1, self._now.name))
        return rows

    def _judged(self) -> _Way:
        """Return the best way, the one that has been timed by now included."""
        way = self._now
        if way is not self._best and self._best.pace / way.pace > GAIN:
            self._best = way
            gain = f"{self._eager.pace / way.pace:.1f} times as quick as eager"
            self.say(f"features are computed by {way.name}, {self.precision}: {gain}, largest relative error {way.error:.1e}")
        return self._best

    def _candidate(self, size: int, batches: int) -> _Way | None:
        """Return the next way to try; None where there is none, or it wouldn't pay.

        Args:
            size: pictures in a batch.
            batches: how many are left.
        """
        batch_s = self._best.pace * size
        while self._untried and batches:
            name = self._untried.pop(0)
            way = self._prepared(name) if batch_s * batches > _PAYS * (ENGINES[name].seconds + batch_s) else None
            if way is not None:
                return way
        return None

    def _prepared(self, name: str) -> _Way | None:
        """Return a way that has answered like eager; None, saying so, where it hasn't."""
        images, wanted = self._reference
        try:
            compute = engine_features(self.model, name, self.precision)
            error = relative_error(torch.from_numpy(wanted), torch.from_numpy(compute(images)))
        except Exception as failed:  # engines run into anything, and eager works
            self.say(f"features are not computed by {name}: {(str(failed).splitlines() or [type(failed).__name__])[0]}")
            return None
        bound = _BOUNDS[self.precision]
        if not error <= bound:  # nor NaN
            self.say(f"features are not computed by {name}, {self.precision}: off by {error:.2g} of the largest (at most {bound:g})")
            return None
        return _Way(name, compute, error)


def engine_features(model: Model, engine: str, precision: Precision) -> Compute:
    """Convert trunk and pooling for an engine, or find them converted, and return what computes features.

    Args:
        model: in evaluation mode, on the CPU.
        engine: its name.
        precision: "fp32" or "bf16".

    Raises:
        InputError: the engine can't take them.
    """
    settled: EnginePrecision = "bf16" if precision == "bf16" else "fp32"
    conversion = Conversion(model, trunk_fingerprint(model), ENGINES[engine](), settled, torch.get_num_threads())
    run = conversion.started(FEATURES, model.preprocess.size_hw)

    def compute(images: ImageBatch) -> Rows:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            (pooled,) = run(as_float(images.pixels))
        rows: Rows = pooled.numpy().copy()  # what an engine answers is good until it is asked again
        return rows

    return compute
