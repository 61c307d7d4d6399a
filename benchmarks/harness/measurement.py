"""The measured figures of one case, passed from the child process to the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from zoo.benchmarks.harness.timing import Timing


@dataclass(frozen=True)
class Throughput:
    """Rate at which a model processes batches.

    Attributes:
        batch_size: images per call.
        images_per_second: rate, from the median duration of a call.
    """

    batch_size: int
    images_per_second: float


@dataclass(frozen=True)
class Measurement:
    """Figures of a case that ran to completion.

    Attributes:
        scores: score by name; None where the data doesn't support a score.
        n: number of scored images.
        skipped: number of skipped images.
        train_seconds: wall-clock training time; None if the case doesn't train.
        eval_seconds: wall-clock evaluation time, including reading and preprocessing the images.
        eval_images_per_second: images evaluated per second.
        latency: duration of a call with one preprocessed image.
        throughput: rate of calls with several preprocessed images.
        parameters: number of parameters of the model, frozen ones included.
        peak_memory_mib: peak memory of the case's process in MiB, excluding loader processes.
    """

    scores: Mapping[str, float | None]
    n: int
    skipped: int
    train_seconds: float | None
    eval_seconds: float
    eval_images_per_second: float
    latency: Timing
    throughput: Throughput
    parameters: int
    peak_memory_mib: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in the format of report.json, rounded to their meaningful precision."""
        latency = {"median": round(self.latency.median_ms, 3), "p95": round(self.latency.p95_ms, 3), "runs": self.latency.runs}
        return {
            "scores": dict(self.scores),
            "n": self.n,
            "skipped": self.skipped,
            "train_seconds": None if self.train_seconds is None else round(self.train_seconds, 2),
            "eval_seconds": round(self.eval_seconds, 2),
            "eval_images_per_second": round(self.eval_images_per_second, 2),
            "latency_ms": latency,
            "throughput": {
                "batch_size": self.throughput.batch_size,
                "images_per_second": round(self.throughput.images_per_second, 2),
            },
            "parameters": self.parameters,
            "peak_memory_mib": round(self.peak_memory_mib, 1),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Create a measurement from the output of `to_dict`."""
        latency = values["latency_ms"]
        own = {key.name: values[key.name] for key in fields(cls) if key.name not in ("latency", "throughput")}
        return cls(**own, latency=Timing(latency["median"], latency["p95"], latency["runs"]), throughput=Throughput(**values["throughput"]))
