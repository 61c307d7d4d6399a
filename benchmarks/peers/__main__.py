"""Compare the speed of the zoo with other libraries: `python -m zoo.benchmarks.peers`.

Each row of the table is one task. It is performed by the zoo with OpenVINO (`zoo.compile`) and by other libraries as in their tutorials,
with the same random weights, images and number of threads. After a warm-up, the libraries run alternately. Their median times and their
results are compared. The table also shows the fraction of the processor's peak performance that the zoo reaches. The peak is that of large
matrix multiplications, measured in the same run. The targets of bf16 rows apply to processors that support bf16. On other processors, these
rows run in fp32, and their targets don't apply.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from zoo.benchmarks.harness.command import Flags, benchmark, data_flag, flag, log, make_table, report, threads_flag, torch_threads
from zoo.benchmarks.harness.measurement import peaks
from zoo.benchmarks.peers import race
from zoo.benchmarks.peers.race import Beaten, Outcome
from zoo.benchmarks.peers.rows import ROWS, Row
from zoo.benchmarks.peers.shared import Setting
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError, ZooError, check_positive
from zoo.system.hardware import cpu_has_bf16, cpu_has_matrix_units


def measure(row: Row, setting: Setting, rounds: int, budget_s: float) -> Outcome:
    """Run a row of the table. If the zoo can't compile the model, the outcome contains the error message."""
    outcome = Outcome(row.key, row.title, row.precision(setting), judged=row.int8 or setting.has_bf16)
    try:
        contest = row.prepare(setting, row.precision(setting))
    except InputError:
        raise
    except ZooError as error:
        return replace(outcome, fault=str(error))
    with torch.no_grad():
        return race.run(outcome, contest, rounds, budget_s)


def chosen(names: Sequence[str]) -> list[Row]:
    """Return the rows with the given names, in the order of the table."""
    for name in names:
        if name not in ROWS:
            raise UnknownNameError("row", name, ROWS)
    return [row for key, row in ROWS.items() if key in names]


@benchmark(
    flag("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"rows to run, one or more of: {', '.join(ROWS)}; all by default"),
    flag("--rounds", type=int, default=5, help="maximum number of rounds per row"),
    threads_flag("number of threads for each library"),
    flag("--seconds", type=float, default=120.0, help="seconds per row, excluding preparation, after which no new round starts"),
    data_flag("photos/ and portraits/"),
)
def main(flags: Flags) -> int:
    """Run the benchmark; return 0 if all results agree and all applicable targets are met, 1 if not, and 2 if the input is invalid."""
    check_positive("peers", rounds=flags.rounds, threads=flags.threads, seconds=flags.seconds)
    rows = chosen(flags.rows)
    for missing in (ENGINES[name].missing() for name in ("openvino", "onnxruntime")):
        if missing is not None:
            raise InputError(missing)
    outcomes = []
    with torch_threads(flags.threads), tempfile.TemporaryDirectory() as scratch:
        reached, has_bf16 = peaks(), cpu_has_bf16()
        setting = Setting(flags.data, flags.threads, has_bf16, Path(scratch))
        for row in rows:
            outcomes.append(measure(row, setting, flags.rounds, flags.seconds))
            log(f"peers: {outcomes[-1].key} measured in {outcomes[-1].precision}")
    figures = [{**asdict(each), "part_of_peak": each.part_of(reached), "met": each.met} for each in outcomes]
    content = {"rows": figures, "peaks": reached, "threads": flags.threads, "bf16": has_bf16}
    met = all(outcome.met for outcome in outcomes)
    return report(flags.json, content, *_shown(outcomes, reached, flags.threads), met=met, width=max(160, Console().width))


def _shown(outcomes: Sequence[Outcome], peaks: Mapping[str, float | None], threads: int) -> Iterator[Table | str]:
    """Yield the table, then lines with errors, numbers of rounds and `peaks`, the peak operations per second by precision."""
    headings = ("task", "zoo", "of the peak", "compared with", "theirs", "times as fast", "target", "results", "")
    table = make_table(f"the zoo compared with other libraries on {threads} threads, medians", headings)
    for outcome in outcomes:
        part = outcome.part_of(peaks)
        first = [f"{outcome.title}, {outcome.precision}", _time(outcome.seconds, outcome), "–" if part is None else f"{100 * part:.0f} %"]
        for each in outcome.beaten:
            times = (each.name, _time(each.seconds, outcome), f"{each.ratio:.2f}", f"{each.promise:g}")
            error = "" if each.difference.error is None else f", error {each.difference.error:.0e}"
            table.add_row(*first, *times, f"{100 * each.difference.same:.0f} % equal{error}", _verdict(outcome, each))
            first = ["", "", ""]
        if outcome.fault is not None:
            table.add_row(*first, "", "", "", "", "", "failed")
        table.add_section()
    yield table
    for outcome in outcomes:
        if outcome.fault is not None:
            yield f"{outcome.title}, {outcome.precision}: {outcome.fault}"
    if any(not outcome.judged for outcome in outcomes):
        yield "this processor doesn't support bf16: these rows ran in fp32, and their targets don't apply"
    rounds = ", ".join(f"{outcome.key} {outcome.rounds}" for outcome in outcomes if outcome.rounds)
    yield f"number of rounds: {rounds or 'none'}"
    rates = ", ".join(f"{name} {'not measured' if rate is None else f'{rate / 1e9:.0f}'}" for name, rate in peaks.items())
    yield f"peak performance of matrix multiplication in 10⁹ operations per second: {rates}"
    if not cpu_has_matrix_units():
        gains = ", ".join(f"{name} {rate / peaks['fp32']:.1f}" for name, rate in peaks.items() if rate and peaks["fp32"] and name != "fp32")
        lacking = "the targets are for a processor with AMX, which this one lacks"
        yield f"{lacking}; speed-up of its matrix multiplications over fp32: {gains or 'none'}"


def _verdict(outcome: Outcome, beaten: Beaten) -> str:
    """Return whether the target for one library is met, as a few words for the table."""
    if not beaten.right:
        return "different results"
    if not outcome.judged:
        return "not applicable"
    return "met" if beaten.ratio >= beaten.promise else "not met"


def _time(seconds: float | None, outcome: Outcome) -> str:
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.0f} ms, {outcome.pictures / seconds:.1f}/s"


if __name__ == "__main__":
    raise SystemExit(main())
