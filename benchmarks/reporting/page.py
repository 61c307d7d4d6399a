"""Report of a benchmark as one self-contained HTML file, and as Markdown."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.benchmarks.harness.report import CaseReport, Report
from zoo.benchmarks.reporting import pareto
from zoo.report import tables
from zoo.report.pages import page, scrolling, table, text
from zoo.system.disk import storing
from zoo.system.files import write_text

_COLUMNS = ("case", "status", "score", "latency, ms", "p95, ms", "images/s", "memory, MiB", "params, M", "training, s", "task", "backbone",
            "engine", "command")  # fmt: skip
_NUMERIC = range(2, 9)
_CLASSES = {"ok": "ok", "regression": "warning", "failed": "error", "skipped": "note"}
_STYLE = """
body{max-width:1400px}.controls{display:flex;flex-wrap:wrap;gap:.6rem 1rem;align-items:center;margin:.6rem 0}.controls[hidden]{display:none}
.controls input,.controls select{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--soft);border-radius:6px;
padding:.35rem .6rem}
.controls input{width:min(100%,22rem)}
.sortable{font-size:14px}.sortable th,.sortable td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--rule)}
.sortable th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:.2rem 0;cursor:pointer;white-space:nowrap}
.sortable th[aria-sort=ascending] button::after{content:" ▲"}.sortable th[aria-sort=descending] button::after{content:" ▼"}
.sortable th:first-child,.sortable td:first-child{position:sticky;left:0;background:var(--paper);min-width:14rem;max-width:22rem;
overflow-wrap:anywhere}
section table td:first-child{min-width:9rem;max-width:22rem;overflow-wrap:anywhere}
.sortable tr[hidden]{display:none}.sortable code{white-space:nowrap}.sortable small{display:block}.sortable .ok{color:var(--green)}
:root{--green:#17703a}@media(prefers-color-scheme:dark){:root{--green:#6fd08c}}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
@media(max-width:600px){section table td:first-child,.sortable th:first-child,.sortable td:first-child{max-width:44vw;min-width:7rem}}
"""


def write_pages(report: Report, folder: Path) -> None:
    """Write `report.html` and `report.md`, each atomically.

    Raises:
        StorageError: the disk is full or not writable.
    """
    for name, content in (("html", html(report)), ("md", markdown(report))):
        with storing(folder / f"report.{name}", remedy="then run the same command again: finished cases are not repeated"):
            write_text(folder / f"report.{name}", content)


def command_of(report: Report, case: CaseReport) -> str:
    """Return the command that runs a case alone."""
    arguments = dict(report.arguments)
    words = ["zoo", "bench", str(arguments.pop("suite", report.suite)), "--only", glob.escape(case.name)]
    for name, value in arguments.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def markdown(report: Report) -> str:
    """Return the report as a Markdown table with the environment and the commands."""
    header = ("case", "status", "score", "latency, ms", "images/s", "params, M", "memory, MiB", "command")
    lines = [f"# Benchmark {report.suite}", "", *(f"- {name}: {value}" for name, value in _environment(report)), ""]
    lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for case in report.cases:
        name, found = primary_score(case), case.measurement
        cells = [case.name, case.status, *["–"] * 5, f"`{command_of(report, case)}`"]
        if found is not None:
            value = found.scores.get(name)
            cells[2:7] = [f"{name} {tables.number(value)}", f"{found.latency.median_ms:.2f}", f"{found.throughput.images_per_second:.1f}",
                          f"{found.parameters / 1e6:.2f}", f"{found.peak_memory_mib:.0f}"]  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    reasons = [f"- {case.name}: {reason}" for case in report.cases for reason in _reasons(case)]
    return "\n".join([*lines, *(["", *reasons] if reasons else []), ""])


def primary_score(case: CaseReport) -> str:
    """Return the name of the score to show: the task's primary score; "" if the case has none."""
    found = case.measurement
    if found is None or not found.scores:
        return ""
    # the primary score and those in `expect` have replicates
    return next((name for name in found.replicates if name not in case.expect), next(iter([*found.replicates, *found.scores])))


def html(report: Report) -> str:
    """Return the report as HTML: figures of all cases, score over latency and all scores of each task, and the environment."""
    counts = {name: sum(case.status == name for case in report.cases) for name in _CLASSES}
    below = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    facts = {"started": report.started, "duration": f"{report.seconds:.0f} s", "processor": str(report.machine.get("cpu", "")),
             "cores": str(report.machine.get("cores", ""))}  # fmt: skip
    groups: dict[str, list[CaseReport]] = {}
    for case in report.cases:
        groups.setdefault(f"{case.task} on {case.data}", []).append(case)
    sections = [("results", "Results", list(_results(report)))]
    sections += [(f"task-{number}", name, list(_task(cases))) for number, (name, cases) in enumerate(groups.items(), start=1)]
    if report.seeds:
        sections.append(("seeds", "Seeds", [_seeds(report)]))
    sections.append(("environment", "Environment", [table((), [(text(name), text(value)) for name, value in _environment(report)])]))
    links = "".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name, _ in sections)
    head = [f'<p class="kicker">Benchmark</p><h1>{text(report.suite)}</h1>', tables.panel("cases", len(report.cases), below, facts)]
    body = [line for anchor, name, parts in sections for line in (f'<section id="{anchor}"><h2>{text(name)}</h2>', *parts, "</section>")]
    script = (Path(__file__).parent / "table.js").read_text(encoding="utf-8")
    style = tables.STYLE + pareto.STYLE + _STYLE
    return page(f"Benchmark {report.suite}", [*head, f'<nav aria-label="Sections">{links}</nav>', *body], style, script)


def _results(report: Report) -> Iterator[str]:
    states = "".join(f"<option>{name}</option>" for name in _CLASSES)
    yield (
        '<div class="controls" hidden><input id="filter" type="search" placeholder="Filter, for example: resnet50 openvino" '
        f'aria-label="Filter the cases"><select id="status" aria-label="Status"><option value="">any status</option>{states}</select>'
        '<span id="count" role="status" class="soft"></span></div>'
    )
    heads = "".join(
        f'<th scope="col"{" class=n" if place in _NUMERIC else ""}><button type="button">{name}</button></th>'
        for place, name in enumerate(_COLUMNS)
    )
    rows = "\n".join(_row(report, case) for case in report.cases)
    yield scrolling(f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>')


def _row(report: Report, case: CaseReport) -> str:
    reasons = "".join(f'<small class="{_CLASSES[case.status]}">{text(reason)}</small>' for reason in _reasons(case))
    cells = [f"<td>{_name(case.name)}{reasons}</td>", f'<td class="{_CLASSES[case.status]}">{case.status}</td>']
    cells += [f'<td class="n" data-value="{"" if value is None else value}">{shown}</td>' for value, shown in _figures(case)]
    cells += [f"<td>{text(words)}</td>" for words in (case.task, case.backbone, case.engine)]
    cells.append(f"<td><code>{text(command_of(report, case))}</code></td>")
    return f'<tr data-case="{text(case.name)}" data-status="{case.status}">{"".join(cells)}</tr>'


def _name(case: str) -> str:
    """Return the name of a case as HTML; lines may break after its slashes."""
    return text(case).replace("/", "/<wbr>")


def _figures(case: CaseReport) -> Iterator[tuple[float | None, str]]:
    """Yield the value and the HTML of each numeric cell."""
    found, name = case.measurement, primary_score(case)
    if found is None:
        yield from [(None, "–")] * len(_NUMERIC)
        return
    score, bounds = found.scores.get(name), found.intervals.get(name)
    interval = f"<small class=soft>{bounds[0]:.4f} – {bounds[1]:.4f}</small>" if bounds else ""
    yield _number(score), f"{text(name)} {tables.number(score)}{interval}"
    for value, form in ((found.latency.median_ms, ".2f"), (found.latency.p95_ms, ".2f"), (found.throughput.images_per_second, ",.1f"),
                        (found.peak_memory_mib, ",.0f"), (found.parameters / 1e6, ",.2f"), (found.train_seconds, ",.1f")):  # fmt: skip
        yield value, "–" if value is None else format(value, form)


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _task(cases: Sequence[CaseReport]) -> Iterator[str]:
    """Yield the plot and the table of all scores of the cases of one task on the same data."""
    measured = [(case.name, case.measurement) for case in cases if case.measurement is not None]
    if not measured:
        yield "<p>No case was measured.</p>"
        return
    name = primary_score(next(case for case in cases if case.measurement is not None))
    values = {case: value for case, found in measured if (value := _number(found.scores.get(name))) is not None}
    latency = [pareto.Point(case, found.latency.median_ms, values[case]) for case, found in measured if case in values]
    memory = [pareto.Point(case, found.peak_memory_mib, values[case]) for case, found in measured if case in values]
    plots = (pareto.plot(latency, name, "latency", "ms"), pareto.plot(memory, name, "memory", "MiB"))
    yield f'<div class="plots">{"".join(plots)}</div>' if values else ""
    columns = list(dict.fromkeys(score for _, found in measured for score in found.scores))
    rows = [[_name(case), *(_score(found.scores.get(score), found.intervals.get(score)) for score in columns)] for case, found in measured]
    yield table(["case", *map(text, columns)], rows, range(1, len(columns) + 1))
    scenarios = [(case, *each) for case, found in measured for each in found.scenarios.items()]
    if scenarios:
        yield "<h3>Scenarios</h3>"
        rows = [[text(case), text(scenario), text(_words(results))] for case, scenario, results in scenarios]
        yield table(("case", "scenario", "results"), rows)


def _score(value: float | None, bounds: tuple[float, float] | None) -> str:
    return tables.number(value) + (f"<br><small>{bounds[0]:.4f} – {bounds[1]:.4f}</small>" if bounds else "")


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


def _seeds(report: Report) -> str:
    rows = [
        (text(summary.name), str(summary.runs), text(score), *(f"{spread[key]:.4f}" for key in ("mean", "std", "min", "max")))
        for summary in report.seeds
        for score, spread in summary.scores.items()
    ]
    return table(("case", "seeds", "score", "mean", "standard deviation", "minimum", "maximum"), rows, range(3, 7))


def _reasons(case: CaseReport) -> list[str]:
    last = (case.error or case.not_run or "").strip().splitlines()[-1:]
    return [*last, *(case.shortfalls if case.measurement is not None else [])]


def _environment(report: Report) -> Iterator[tuple[str, str]]:
    yield "started", report.started
    for name, value in report.machine.items():
        yield name.replace("_", " "), _words(value) if isinstance(value, Mapping) else str(value)
    for name, value in report.code.items():
        yield f"code, {name}", str(value)
