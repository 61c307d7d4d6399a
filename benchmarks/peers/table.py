"""Printing of the table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from zoo.benchmarks.peers.race import Beaten, Outcome
from zoo.system.hardware import cpu_has_matrix_units

NO_BF16 = "this processor has no bf16: fp32"


def show(outcomes: Sequence[Outcome], peaks: Mapping[str, float | None], threads: int) -> None:
    """Print the table and the peak rates of the processor.

    Args:
        outcomes: results of the rows.
        peaks: peak operations per second by precision.
        threads: number of threads of every side.
    """
    table = Table(
        "task", "zoo", "of the peak", "compared with", "theirs", "times as fast", "target", "results", "",
        title=f"the zoo compared with other libraries on {threads} threads, medians", title_justify="left",
    )  # fmt: skip
    for outcome in outcomes:
        part = outcome.part_of(peaks)
        first = [f"{outcome.title}, {outcome.precision}", _time(outcome.seconds, outcome), "–" if part is None else f"{100 * part:.0f} %"]
        for each in outcome.beaten:
            times = (each.name, _time(each.seconds, outcome), f"{each.ratio:.2f}", f"{each.promise:g}")
            table.add_row(*first, *times, _answers(each), verdict(outcome, each))
            first = ["", "", ""]
        if outcome.fault is not None:
            table.add_row(*first, "", "", "", "", "", "failed")
        table.add_section()
    console = Console(highlight=False, width=max(160, Console().width))
    console.print(table)
    for outcome in outcomes:
        if outcome.fault is not None:
            console.print(f"{outcome.title}, {outcome.precision}: {outcome.fault}")
    if any(not outcome.judged for outcome in outcomes):
        console.print(f"{NO_BF16}; the targets for bf16 don't apply")
    rounds = ", ".join(f"{outcome.key} {outcome.rounds}" for outcome in outcomes if outcome.rounds)
    console.print(f"medians of: {rounds or 'nothing'}")
    rates = ", ".join(f"{name} {'not measured' if rate is None else f'{rate / 1e9:.0f}'}" for name, rate in peaks.items())
    console.print(f"peaks of matrix multiplication, 10⁹ operations per second: {rates}; load average {os.getloadavg()[0]:.1f}")
    if not cpu_has_matrix_units():
        gains = ", ".join(f"{name} {rate / peaks['fp32']:.1f}" for name, rate in peaks.items() if rate and peaks["fp32"] and name != "fp32")
        console.print(
            f"the targets are for a processor with AMX, which this one lacks; speed-up of its matrix multiplications over fp32: "
            f"{gains or 'none'}"
        )


def verdict(outcome: Outcome, beaten: Beaten) -> str:
    """Return a short verdict on the comparison with one library."""
    if not beaten.right:
        return "different results"
    if not outcome.judged:
        return "not applicable"
    return "met" if beaten.ratio >= beaten.promise else "not met"


def _time(seconds: float | None, outcome: Outcome) -> str:
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.0f} ms, {outcome.pictures / seconds:.1f}/s"


def _answers(beaten: Beaten) -> str:
    error = "" if beaten.difference.error is None else f", error {beaten.difference.error:.0e}"
    return f"{100 * beaten.difference.same:.0f} % equal{error}"
