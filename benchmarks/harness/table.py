"""Report of a benchmark suite as a terminal table."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from zoo.benchmarks.harness.report import CaseReport, Measurement, Report, Status

_STYLES: dict[Status, str] = {"ok": "green", "regression": "yellow", "failed": "red", "skipped": "cyan"}


def terminal_table(report: Report) -> Table:
    """Return a report as a table with three lines per case, to fit into 80 columns, and one line per case with several seeds."""
    title = f"{report.suite}: {escape(report.machine['cpu'])}, {report.machine['cores']} cores, {report.seconds:.0f} s"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False)
    for heading in ("case", "scores"):
        table.add_column(heading, overflow="fold")
    for heading in ("train\ns", "eval\nimg/s", "latency\nms, p95", "img/s\nin batch", "params\nM", "peak\nMiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case in report.cases:
        head = f"{escape(case.name)} [{_STYLES[case.status]}]{case.status}[/]"
        table.add_row(f"{head}\n{escape(case.task)}\n{escape(case.backbone)}", _scores(case), *_figures(case.measurement))
    for summary in report.seeds:
        shown = list(summary.scores.items())[:3]
        scores = [f"{name} {s['mean']:.4f} ± {s['std']:.4f} ({s['min']:.4f}–{s['max']:.4f})" for name, s in shown]
        table.add_row(f"{escape(summary.name)}\n{summary.runs} seeds", "\n".join(scores), *[""] * 6)
    return table


def _scores(case: CaseReport) -> str:
    if case.measurement is None:
        return escape((case.error or case.not_run or "").strip().splitlines()[-1])  # rich interprets brackets as markup
    # not all scores fit into a row: show those with an expected minimum and the first three
    scores = case.measurement.scores
    shown = dict.fromkeys([*(name for name in case.expect if name in scores), *list(scores)[:3]])
    lines = [f"{name} {'–' if scores[name] is None else format(scores[name], '.4f')}" for name in shown]
    return "\n".join([*lines, *(f"[yellow]{escape(shortfall)}[/]" for shortfall in case.shortfalls)])


def _figures(measurement: Measurement | None) -> list[str]:
    if measurement is None:
        return ["–"] * 6
    m = measurement
    return [
        "–" if m.train_seconds is None else f"{m.train_seconds:.1f}",
        f"{m.eval_images_per_second:.0f}",
        f"{m.latency.median_ms:.1f}\n{m.latency.p95_ms:.1f}",
        f"{m.throughput.images_per_second:.0f}\nby {m.throughput.batch_size}",
        f"{m.parameters / 1e6:.2f}",
        f"{m.peak_memory_mib:.0f}",
    ]
