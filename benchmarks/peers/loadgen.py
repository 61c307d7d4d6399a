"""Compare the scenarios of `zoo bench` with MLPerf's LoadGen, on the same model in turn: `python -m zoo.benchmarks.peers.loadgen`.

The figures are the 90th percentile of single_stream, the 99th of multi_stream, the images per second of offline, and for server the 90th
percentile of the latency with random arrivals, at half of the rate of single_stream, because the 99th is that of a few queries. The medians
of the ratios of neighbouring measurements are to agree within 5 %. LoadGen is the package mlcommons-loadgen (extra `loadgen`).
"""

from __future__ import annotations

import importlib
import queue
import re
import statistics
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, flag, log, make_table, report
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.benchmarks.harness.scenarios import Call, Length, RealClock, multi_stream, offline, percentile_of, serve, single_stream
from zoo.errors import InputError

_IMAGES, _SIDE, _BATCH, _STREAMS = 64, 64, 8, 8  # multi_stream needs 662 queries of 8 images, which takes minutes for larger ones
_AGREEMENT = 0.05
_SERVER_PERCENTILE = 0.90
_SUMMARY = {  # lines of LoadGen's summary
    "single_stream": r"90\.00 percentile latency \(ns\)\s*: (\d+)",
    "multi_stream": r"99\.00 percentile latency \(ns\)\s*: (\d+)",
    "offline": r"Samples per second\s*: ([\d.]+)",
    "server": r"90\.00 percentile latency \(ns\)\s*: (\d+)",
}
_SCENARIOS = {"single_stream": "SingleStream", "multi_stream": "MultiStream", "offline": "Offline", "server": "Server"}


@benchmark(
    flag("--backbone", default="resnet18", help="ResNet that is measured, with random weights"),
    count_flag("--rounds", 5, 1, 100, "number of times that both sides alternate"),
    count_flag("--seconds", 4, 1, 600, "shortest time of a measurement"),
    flag("--threads", type=int, default=1, help="number of torch threads; LoadGen needs a core while it waits"),
)
def main(flags: Flags) -> int:
    """Run the benchmark; return 0 if both agree, 1 if not, and 2 if the input is invalid."""
    loadgen = _package()
    torch.set_num_threads(flags.threads)
    model = zoo.build(flags.backbone, num_classes=1000, image_size=_SIDE).eval()
    source = np.random.default_rng(0)
    images = [source.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8) for _ in range(_IMAGES)]

    def call(numbers: Sequence[int]) -> None:
        with torch.inference_mode():  # LoadGen calls from several threads
            model([images[number] for number in numbers])

    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in _SCENARIOS}
    for turn in range(flags.rounds):
        for name, found in pairs.items():
            # queries per second of single_stream, which is first; LoadGen needs a guess
            rate = 1000 / pairs["single_stream"][0][0] if pairs["single_stream"] else 50.0
            sides: list[Callable[[], float]] = [
                lambda name=name, rate=rate: ours(name, call, rate / 2, flags.seconds),  # type: ignore[misc]
                lambda name=name, rate=rate: theirs(loadgen, name, call, rate, flags.seconds),  # type: ignore[misc]
            ]
            first, second = [side() for side in (sides if turn % 2 else sides[::-1])]
            found.append((first, second) if turn % 2 else (second, first))
            log(f"loadgen: round {turn + 1}: {name}: {found[-1][0]:.4g}, LoadGen {found[-1][1]:.4g}")
    return _finish(flags, pairs)


def ours(name: str, call: Call, rate: float, seconds: float) -> float:
    """Return the figure of a scenario: a latency in milliseconds, or images per second. `rate` is that of the arrivals in server."""
    length = Length(seconds=seconds)
    if name == "single_stream":
        return single_stream(call, _IMAGES, length).latency_ms
    if name == "multi_stream":
        return multi_stream(call, _IMAGES, length).latency_ms
    if name == "offline":
        return offline(call, _IMAGES, _BATCH, length).images_per_second
    latencies = [each for several in serve(call, _IMAGES, rate, 1, 4 * seconds, RealClock(), 0) for each in several]
    return 1000 * percentile_of(latencies, _SERVER_PERCENTILE)


def theirs(loadgen: Any, name: str, call: Call, rate: float, seconds: float) -> float:
    """Return the same figure as LoadGen measures it. `rate` is a guess of the rate, and twice that of the arrivals in server."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, _SCENARIOS[name])
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1000 * seconds) * (4 if name == "server" else 1)
    settings.min_query_count = 64
    settings.offline_expected_qps = rate
    settings.server_target_qps = rate / 2
    settings.server_target_latency_ns = 10**12
    settings.multi_stream_samples_per_query = _STREAMS
    waiting: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
    warm = threading.Event()
    worker = threading.Thread(target=_answer, args=(loadgen, waiting, call, 1 if name == "server" else _BATCH, warm))
    worker.start()
    warm.wait()
    system = loadgen.ConstructSUT(lambda samples: waiting.put([(sample.id, sample.index) for sample in samples]), lambda: None)
    library = loadgen.ConstructQSL(_IMAGES, _IMAGES, lambda indices: None, lambda indices: None)
    with tempfile.TemporaryDirectory() as folder:
        outputs = loadgen.LogOutputSettings()
        outputs.outdir = folder
        logs = loadgen.LogSettings()
        logs.log_output, logs.enable_trace = outputs, False
        try:
            loadgen.StartTestWithLogSettings(system, library, settings, logs)
        finally:
            waiting.put(None)
            worker.join()
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    found = re.search(_SUMMARY[name], summary)
    assert found is not None, summary
    return float(found[1]) if name == "offline" else float(found[1]) / 1e6


def _answer(loadgen: Any, waiting: queue.SimpleQueue[list[Any] | None], call: Call, batch: int, warm: threading.Event) -> None:
    """Answer LoadGen's queries one after the other."""
    for _ in range(Length().warmup):
        call(range(batch))
    warm.set()
    while (samples := waiting.get()) is not None:
        for start in range(0, len(samples), batch):
            part = samples[start : start + batch]
            call([index for _, index in part])
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(number, 0, 0) for number, _ in part])


def _package() -> Any:
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError:
        raise InputError("the benchmark requires LoadGen: pip install 'resnet-zoo[loadgen]'") from None


def _finish(flags: Flags, pairs: dict[str, list[tuple[float, float]]]) -> int:
    """Print the results and return the exit status."""
    table = make_table(f"scenarios beside LoadGen, {flags.backbone}, {flags.threads} threads", ("scenario", "ours", "LoadGen", "ratio", ""))
    ratios = {name: statistics.median(one / two for one, two in found) for name, found in pairs.items()}
    for name, found in pairs.items():
        unit = "images/s" if name == "offline" else "ms"
        values = [f"{statistics.median(column):.4g} {unit}" for column in zip(*found, strict=True)]
        table.add_row(name, *values, f"{ratios[name]:.3f}", "met" if abs(ratios[name] - 1) <= _AGREEMENT else "not met")
    met = all(abs(ratio - 1) <= _AGREEMENT for ratio in ratios.values())
    content = {"pairs": pairs, "ratios": ratios, "met": met, "machine": describe_machine()}
    return report(flags.json, content, table, met=met)


if __name__ == "__main__":
    raise SystemExit(main())
