"""The figures of one case: what the child process measures and the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from zoo.benchmarks.harness.timing import Timing


@dataclass(frozen=True)
class Throughput:
    """Pictures per second when several are computed together.

    Attributes:
        batch_size: pictures per call.
        images_per_second: from the median duration of a call.
    """

    batch_size: int
    images_per_second: float


@dataclass(frozen=True)
class Measurement:
    """The figures of one case that ran to its end.

    Attributes:
        scores: score name to value; None where the data doesn't support one.
        n: pictures that were scored.
        skipped: pictures that were left out.
        train_seconds: wall-clock time of the training, None without one.
        eval_seconds: wall-clock time of the evaluation, reading and preparing the pictures included.
        eval_images_per_second: the same as a rate.
        latency: of one call with one prepared picture.
        throughput: of one call with several prepared pictures.
        parameters: numbers in the model that are or could be trained.
        peak_memory_mib: most memory the case's own process held; its loader processes aren't counted.
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
        """Return the figures as they stand in report.json, rounded to what they are good for."""
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
        """Read the figures back."""
        latency = values["latency_ms"]
        own = {key.name: values[key.name] for key in fields(cls) if key.name not in ("latency", "throughput")}
        return cls(**own, latency=Timing(latency["median"], latency["p95"], latency["runs"]), throughput=Throughput(**values["throughput"]))
