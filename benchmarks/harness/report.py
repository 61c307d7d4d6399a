"""Report of a benchmark suite: the measured figures of all cases, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from zoo.benchmarks.harness.expectations import shortfall
from zoo.errors import InputError
from zoo.system.disk import storing
from zoo.system.files import write_text

Status = Literal["ok", "regression", "failed", "skipped"]
REPORT_VERSION = 2
_NOT_IN_CSV = ("settings", "blocks_ms", "replicates")


@dataclass(frozen=True)
class Timing:
    """Statistics of the durations of repeated calls."""

    median_ms: float  # median duration in milliseconds
    p95_ms: float  # 95th percentile of the durations in milliseconds
    runs: int  # number of timed calls
    # median duration of each block of consecutive calls of at least 100 ms together, in milliseconds; comparisons resample the blocks
    blocks_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Throughput:
    """Number of images per second that a model processes in batches."""

    batch_size: int  # images per call
    images_per_second: float  # images per second, computed from the median duration of a call
    blocks_ms: tuple[float, ...] = ()  # median durations of calls, as in `Timing`


@dataclass(frozen=True)
class Measurement:
    """Measured figures of a case that didn't fail."""

    scores: Mapping[str, float | None]  # scores by name; None for a score that is undefined for the data
    n: int  # number of evaluated images
    skipped: int  # number of skipped images
    train_seconds: float | None  # wall-clock training time in seconds; None if the case doesn't train
    eval_seconds: float  # wall-clock evaluation time in seconds, including reading and preprocessing the images
    eval_images_per_second: float  # images evaluated per second
    latency: Timing  # duration of a call with one preprocessed image
    throughput: Throughput  # rate of calls with several preprocessed images
    parameters: int  # number of parameters of the model, frozen ones included
    peak_memory_mib: float  # peak memory of the case's process in MiB, excluding loader processes
    scenarios: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # results of MLPerf's scenarios by name, see `scenarios`
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # 95 % bootstrap confidence intervals of scores by name
    replicates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # bootstrap replicates of the scores that are compared
    data_fingerprints: Mapping[str, str] = field(default_factory=dict)  # fingerprint of the scored data, by head ("" if there is only one)
    hub: Mapping[str, str] | None = None  # repository and commit of weights from the Hub; None for others

    def figures(self) -> dict[str, float | None]:
        """Return all scores, and the other figures that a suite can bound, by name."""
        return {
            **self.scores,
            "latency_ms": self.latency.median_ms,
            "latency_p95_ms": self.latency.p95_ms,
            "images_per_second": self.throughput.images_per_second,
            "eval_images_per_second": self.eval_images_per_second,
            "train_seconds": self.train_seconds,
            "eval_seconds": self.eval_seconds,
            "peak_memory_mib": self.peak_memory_mib,
            "parameters": self.parameters,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in the format of report.json, rounded to their meaningful precision."""
        latency = {
            "median": round(self.latency.median_ms, 3),
            "p95": round(self.latency.p95_ms, 3),
            "runs": self.latency.runs,
            "blocks_ms": [round(value, 4) for value in self.latency.blocks_ms],
        }
        throughput = {
            "batch_size": self.throughput.batch_size,
            "images_per_second": round(self.throughput.images_per_second, 2),
            "blocks_ms": [round(value, 4) for value in self.throughput.blocks_ms],
        }
        return {
            "scores": dict(self.scores),
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "replicates": {name: [round(value, 5) for value in values] for name, values in self.replicates.items()},
            "data_fingerprints": dict(self.data_fingerprints),
            "n": self.n,
            "skipped": self.skipped,
            "train_seconds": None if self.train_seconds is None else round(self.train_seconds, 2),
            "eval_seconds": round(self.eval_seconds, 2),
            "eval_images_per_second": round(self.eval_images_per_second, 2),
            "latency_ms": latency,
            "throughput": throughput,
            "parameters": self.parameters,
            "peak_memory_mib": round(self.peak_memory_mib, 1),
            **({"scenarios": {name: dict(found) for name, found in self.scenarios.items()}} if self.scenarios else {}),
            **({} if self.hub is None else {"hub": dict(self.hub)}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Create a measurement from the output of `to_dict`."""
        latency = values["latency_ms"]
        different = ("latency", "throughput", "scenarios", "hub", "intervals", "replicates")
        own = {key.name: values[key.name] for key in fields(cls) if key.name not in different}
        throughput = values["throughput"]
        return cls(
            **own,
            latency=Timing(latency["median"], latency["p95"], latency["runs"], tuple(latency["blocks_ms"])),
            throughput=Throughput(throughput["batch_size"], throughput["images_per_second"], tuple(throughput["blocks_ms"])),
            intervals={name: (low, high) for name, (low, high) in values["intervals"].items()},
            replicates={name: tuple(each) for name, each in values["replicates"].items()},
            scenarios=values.get("scenarios", {}),
            hub=values.get("hub"),
        )


@dataclass(frozen=True)
class CaseReport:
    """Result of one benchmark case."""

    name: str
    task: str
    backbone: str
    data: str  # dataset string of the evaluated data
    engine: str  # engine and precision set in the suite, separated by ", "
    seconds: float  # wall-clock time of the whole case
    expect: Mapping[str, Any] = field(default_factory=dict)  # expected value of each score or other figure by name, as in `Case`
    measurement: Measurement | None = None  # measured figures; None if the case failed or was skipped
    error: str | None = None  # error message if the case failed, otherwise None
    not_run: str | None = None  # reason if the case was not run, otherwise None
    settings: Mapping[str, Any] = field(default_factory=dict)  # settings of the case, the fields of `Case`

    @property
    def shortfalls(self) -> list[str]:
        """Messages about scores and other figures that are missing or miss their expected value."""
        figures = self.measurement.figures() if self.measurement is not None else {}
        found = (shortfall(name, bound, figures) for name, bound in self.expect.items())
        return [message for message in found if message is not None]

    @property
    def status(self) -> Status:
        """Status of the case: "ok", "failed", "skipped", or "regression" if a figure misses its expected value."""
        if self.not_run is not None:
            return "skipped"
        if self.measurement is None:
            return "failed"
        return "regression" if self.shortfalls else "ok"

    def to_dict(self) -> dict[str, Any]:
        """Return the case in the format of report.json."""
        own = {name: getattr(self, name) for name in ("name", "task", "backbone", "data", "engine", "status")}
        measured = self.measurement.to_dict() if self.measurement is not None else {}
        others = {"error": self.error, "not_run": self.not_run, "settings": dict(self.settings), "expect": dict(self.expect)}
        return own | {"seconds": round(self.seconds, 2)} | others | measured

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaseReport:
        """Create a case report from the output of `to_dict`."""
        measurement = Measurement.from_dict(values) if values["status"] not in ("failed", "skipped") else None
        own = {key.name: values[key.name] for key in fields(cls) if key.name != "measurement"}
        return cls(**own, measurement=measurement)


@dataclass(frozen=True)
class SeedSummary:
    """Statistics of a case over its seeds."""

    name: str  # name of the case without the seed
    runs: int  # number of seeds that were measured
    scores: Mapping[str, Mapping[str, float]]  # mean, std (sample standard deviation), min and max of each score that all runs define

    @classmethod
    def of(cls, name: str, cases: Sequence[CaseReport]) -> SeedSummary:
        """Summarise the measured cases of one name."""
        found = [case.measurement.scores for case in cases if case.measurement is not None]
        values = {score: [value for scores in found if (value := scores.get(score)) is not None] for score in found[0]}
        return cls(name, len(found), {score: _spread(each) for score, each in values.items() if len(each) == len(found)})


def _spread(values: Sequence[float]) -> dict[str, float]:
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": std, "min": min(values), "max": max(values)}


@dataclass(frozen=True)
class Report:
    """Result of a benchmark suite."""

    suite: str  # name of the suite
    started: str  # start time in UTC, ISO 8601
    seconds: float  # wall-clock time of the whole suite
    machine: Mapping[str, Any]  # description of the machine, from `describe_machine`
    cases: tuple[CaseReport, ...]  # result of each case, in the order of the suite
    code: Mapping[str, Any] = field(default_factory=dict)  # fingerprint of the zoo's sources, and the commit if known
    arguments: Mapping[str, Any] = field(default_factory=dict)  # arguments of the command that apply to each case, by name

    @property
    def ok(self) -> bool:
        """Whether no case failed or has a regression. Otherwise, `zoo bench` exits with status 1. Skipped cases don't count."""
        return all(case.status in ("ok", "skipped") for case in self.cases)

    @property
    def seeds(self) -> list[SeedSummary]:
        """Statistics of the cases that ran with several seeds, over the seeds."""
        groups: dict[str, list[CaseReport]] = {}
        for case in self.cases:
            seed = case.settings.get("seed")
            if seed is not None and case.measurement is not None:
                groups.setdefault(case.name.removesuffix(f"@{seed}"), []).append(case)
        return [SeedSummary.of(name, cases) for name, cases in groups.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the report in the format of report.json."""
        return {
            "version": REPORT_VERSION,
            "suite": self.suite,
            "started": self.started,
            "seconds": round(self.seconds, 2),
            "machine": dict(self.machine),
            "code": dict(self.code),
            "arguments": dict(self.arguments),
            "cases": [finite(case.to_dict()) for case in self.cases],
            "seeds": [finite(asdict(summary)) for summary in self.seeds],
        }

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a report.json.

        Raises:
            InputError: the file can't be read, isn't a report, or has an unsupported version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["version"]
            cases = tuple(CaseReport.from_dict(case) for case in content["cases"]) if version == REPORT_VERSION else ()
            others = {name: content.get(name, {}) for name in ("code", "arguments")}
            report = cls(content["suite"], content["started"], content["seconds"], content["machine"], cases, **others)
        except OSError as error:
            raise InputError(f"{path} can't be read ({error.strerror}); expected a report.json") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a report ({type(error).__name__}: {error}); expected a report.json of zoo bench") from error
        if version != REPORT_VERSION:
            raise InputError(f"{path}: the report has version {version}; expected version {REPORT_VERSION}")
        return report

    def write(self, folder: Path) -> None:
        """Write `report.json` and `report.csv`, each atomically.

        Raises:
            StorageError: the disk is full or not writable.
        """
        for name, text in (("json", json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"), ("csv", self.to_csv())):
            with storing(folder / f"report.{name}", remedy="then run the same command again: finished cases are not repeated"):
                write_text(folder / f"report.{name}", text)

    def to_csv(self) -> str:
        """Return the cases as CSV, one row per case. Nested figures have dotted column names; the machine is only in the JSON."""
        rows = [dict(_flatten(case.to_dict())) for case in self.cases]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if key in _NOT_IN_CSV:
            continue
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif prefix == "intervals.":
            yield from ((f"{prefix}{key}.low", value[0]), (f"{prefix}{key}.high", value[1]))
        else:
            yield f"{prefix}{key}", value


def finite(value: Any) -> Any:
    """Replace floats that JSON can't represent (NaN, infinity) with None."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
