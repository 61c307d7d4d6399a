"""A suite of one case, and sample reports."""

from __future__ import annotations

from pathlib import Path

from zoo.benchmarks.harness.report import CaseReport, Measurement, Report, Throughput, Timing

CASE = '[[case]]\nname = "a"\ntask = "classification"\nbackbone = "resnet20"\ntest = "demo:digits"\n'
MEASUREMENT = Measurement(
    scores={"top1": 0.9875, "top5": 1.0, "f1": None},
    n=360,
    skipped=1,
    train_seconds=12.25,
    eval_seconds=0.5,
    eval_images_per_second=720.0,
    latency=Timing(3.5, 4.25, 100, (3.4, 3.6)),
    throughput=Throughput(16, 900.0),
    parameters=272474,
    peak_memory_mib=612.5,
    intervals={"top1": (0.98, 0.99)},
    replicates={"top1": (0.98, 0.985, 0.99)},
    data_fingerprints={"": "0123456789abcdef"},
)
GOOD = CaseReport("digits", "classification", "resnet20", "demo:digits", "eager, auto", 20.5, {"top1": 0.97}, MEASUREMENT)
FAILED = CaseReport("faces", "face", "resnet18", "demo:faces", "eager, auto", 1.0, {}, None, "Traceback:\n[Errno 2] no such file")
REPORT = Report("quick", "2026-11-23T20:00:00+00:00", 42.0, {"cpu": "a processor", "cores": 2}, (GOOD, FAILED))


def write_suite(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path
