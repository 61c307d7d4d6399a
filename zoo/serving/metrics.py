"""Metrics of the server in Prometheus' format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from zoo.serving.pool import Pool

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of requests, and the present state of the workers."""

    def __init__(self, pool: Pool) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter("zoo_answers", "Answers by route and status.", ["route", "status"], registry=self._registry)
        self._total = Histogram(
            "zoo_request_seconds", "Time from a request's header to its answer.", ["route"], buckets=_SECONDS, registry=self._registry
        )
        text = "Time of a request's slowest picture by stage: read, decode, wait (for a batch), compute, encode."
        self._stages = Histogram("zoo_stage_seconds", text, ["stage"], buckets=_SECONDS, registry=self._registry)
        self._batches = Histogram(
            "zoo_batch_size", "Size of the batch in which a picture was computed.", buckets=_SIZES, registry=self._registry
        )
        self._registry.register(_State(pool))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer. `route` is the pattern of the path, so that unknown paths don't create metrics."""
        self._answers.labels(route, status).inc()
        self._total.labels(route).observe(seconds)

    def took(self, stages: Mapping[str, float], batches: Iterable[int] = ()) -> None:
        """Record the time spent in each stage, and the batch size of each picture."""
        for stage, seconds in stages.items():
            self._stages.labels(stage).observe(seconds)
        for size in batches:
            self._batches.observe(size)

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        text: bytes = generate_latest(self._registry)
        return text


class _State(Collector):
    """The present state, which is read when the metrics are requested."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._process = pool, psutil.Process()

    def collect(self) -> Iterable[Metric]:
        """Yield the present values."""
        pool = self._pool
        values: tuple[tuple[str, str, Any], ...] = (
            ("zoo_queue_pictures", "Pictures that are waiting or being computed.", pool.pictures),
            ("zoo_queue_limit_pictures", "Number of such pictures from which requests are refused.", pool.limit),
            ("zoo_ready", "Whether all workers are ready.", int(pool.ready)),
            ("zoo_worker_restarts", "Workers that were replaced since the start.", pool.restarts),
        )
        for name, text, value in values:
            yield GaugeMetricFamily(name, text, value=value)
        memory = GaugeMetricFamily("zoo_resident_bytes", "Resident memory by process.", labels=["process"])
        memory.add_metric(["server"], self._process.memory_info().rss)
        for place, worker in enumerate(pool.workers):
            memory.add_metric([f"worker-{place}"], worker.memory)
        yield memory
