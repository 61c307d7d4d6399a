"""Measure the server under load: `python -m zoo.benchmarks.serving`.

A ResNet with random weights is compiled with OpenVINO, in bf16 if the processor supports it, and served by `zoo serve`. Locust, in a
separate process, sends photos of 1440×1080 pixels as JPEG files. The server is compared with `zoo predict` on the same files, with single
calls of the model, and with LitServe, which serves the same graph with its own batching; the larger the photos (--side), the more decoding
counts. The sides alternate, and the medians of the ratios of neighbouring measurements are compared with the bounds, because the speed of a
shared machine changes. Locust's share of the processor is printed; it is taken from the servers if all cores are busy.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, data_flag, flag, make_table, report
from zoo.benchmarks.harness.measurement import describe_machine
from zoo.engines import ENGINES
from zoo.errors import InputError

_NEEDED = {"locust": "Locust", "litserve": "LitServe", "fastapi": "FastAPI", "uvicorn": "Uvicorn"}
_ROWS = ("throughput", "overhead", "batching", "overload", "memory", "kill", "answers")


@benchmark(
    flag("--only", nargs="+", choices=_ROWS, metavar="ROW", help=f"rows to measure, one or more of: {', '.join(_ROWS)}; all by default"),
    flag("--quick", action="store_true", help="measure for seconds instead of minutes, to try whether everything works"),
    count_flag("--rounds", None, 1, 100, "number of times that the sides alternate; by default 3"),
    count_flag("--requests", None, 20, 100_000_000, "number of requests in the row about memory; by default 100000"),
    flag("--backbone", default="resnet50", help="ResNet of timm that is served"),
    count_flag("--side", 1080, 32, 10_000, "shorter side of the photos in pixels"),
    flag("--precision", choices=("fp32", "bf16", "int8"), help="precision of OpenVINO; by default bf16 if the processor supports it"),
    data_flag("photos/"),
)
def main(flags: Flags) -> int:
    """Run the benchmark; return 0 if all bounds are met, 1 if not, and 2 if the input is invalid."""
    check_installed(flags.only or _ROWS)
    # after the check, because they import these packages' modules
    from zoo.benchmarks.serving.rows import ROWS
    from zoo.benchmarks.serving.setting import QUICK, Scale, prepare

    scale = QUICK if flags.quick else Scale()
    given = {name: value for name in ("rounds", "requests") if (value := getattr(flags, name)) is not None}
    scale = replace(scale, **given)
    scale = replace(scale, warm_requests=min(scale.warm_requests, scale.requests // 10))
    begun, found = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as scratch:
        setting = prepare(flags.data, flags.backbone, flags.precision, flags.side, Path(scratch), scale)
        for name in flags.only or _ROWS:
            setting.begin(name)
            found[name] = ROWS[name](setting)
    table = make_table(
        f"zoo serve, {flags.backbone}, OpenVINO, {setting.precision}, photos with a shorter side of {flags.side} pixels",
        ("row", "what", "measured", "bound", ""),
    )
    for name, figures in found.items():
        for place, each in enumerate(figures):
            bound = f"{'≥' if each.least else '≤'} {each.bound:g}"
            verdict = "met" if each.met else "not met"
            table.add_row("" if place else name, each.what, f"{each.value:.4g} {each.unit}", bound, verdict)
        table.add_section()
    met = all(each.met for figures in found.values() for each in figures)
    notes = [f"{name}: {each.note}" for name, figures in found.items() for each in figures if each.note]
    cores = ", ".join(f"{name} {used:.2f} (load average {setting.loads[name]:.1f})" for name, used in setting.cores.items())
    used = f"cores used by the load generator, at most: {cores}; " if cores else ""
    took = f"{used}the whole run took {time.monotonic() - begun:.0f} s"
    rows = {name: [{**asdict(each), "met": each.met} for each in figures] for name, figures in found.items()}
    content = {
        "rows": rows,
        "met": met,
        "scale": asdict(scale),
        "backbone": flags.backbone,
        "precision": setting.precision,
        "side": flags.side,
        "machine": describe_machine(),
    }
    content |= {"generator_cores": setting.cores, "load_averages": setting.loads, "seconds": time.monotonic() - begun}
    return report(flags.json, content, table, *notes, took, met=met, width=max(140, Console().width))


def check_installed(rows: list[str] | tuple[str, ...]) -> None:
    """Raise an `InputError` that names the packages that the rows need and that aren't installed."""
    needed = {name: shown for name, shown in _NEEDED.items() if name != "litserve" or "throughput" in rows}
    missing = [shown for name, shown in needed.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be installed to measure the server: pip install 'resnet-zoo[dev]'")
    if (reason := ENGINES["openvino"].missing()) is not None:
        raise InputError(reason)


if __name__ == "__main__":
    raise SystemExit(main())
