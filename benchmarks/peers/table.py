"""Table with the results of the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from zoo.benchmarks.peers.race import Beaten, Outcome
from zoo.system.hardware import cpu_has_matrix_units


def shown(outcomes: Sequence[Outcome], peaks: Mapping[str, float | None], threads: int) -> Iterator[Table | str]:
    """Yield the table, then lines with errors, numbers of rounds and peak performance.

    `peaks` holds the peak operations per second by precision.
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
            error = "" if each.difference.error is None else f", error {each.difference.error:.0e}"
            table.add_row(*first, *times, f"{100 * each.difference.same:.0f} % equal{error}", verdict(outcome, each))
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


def verdict(outcome: Outcome, beaten: Beaten) -> str:
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
