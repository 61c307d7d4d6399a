"""The `zoo bench compare` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from zoo.cli.context import print_json
from zoo.system.wording import counted

if TYPE_CHECKING:
    from zoo.benchmarks.reporting.comparison import Change, Comparison


@dataclass(frozen=True)
class BenchCompareFlags:
    """Compare two benchmark reports, and print what differs by more than noise. The exit status is 1 if something has become worse."""

    old: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OLD")]
    """Output folder of zoo bench, or its report.json."""
    new: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NEW")]
    """Output folder of zoo bench, or its report.json, from the installed version of the zoo."""
    no_confirm: bool = False
    """Report regressions at once. By default, their cases are run again, old and new in turn, and only what appears again is reported."""
    old_code: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Checkout of the zoo with which OLD was made, for running its cases again; by default the installed zoo, if OLD was made with it."""
    rounds: int = 12
    """Maximum number of times that cases with regressions are run again; four are often enough."""
    all: bool = False
    """Print unchanged figures as well."""
    json: bool = False
    """Print only the comparison, as a single JSON object, to standard output."""


def run(flags: BenchCompareFlags) -> int:
    """Run the command and return the exit status: 1 if something has become worse, otherwise 0."""
    import sys

    from zoo.benchmarks.reporting.comparison import compare_reports, read_side
    from zoo.benchmarks.reporting.confirmation import check_old_code, confirm

    check_old_code(flags.old_code)
    old, new = read_side(flags.old.expanduser()), read_side(flags.new.expanduser())
    found = compare_reports(old, new)
    if not flags.no_confirm:
        found = confirm(found, old, new, old_code=flags.old_code, rounds=flags.rounds, say=lambda words: print(words, file=sys.stderr))
    if flags.json:
        print_json(found.to_dict())
    else:
        _print(found, flags.all)
    return 0 if found.ok else 1


def _print(found: Comparison, everything: bool) -> None:
    shown = [change for change in found.changes if everything or change.verdict != "same"]
    cases = dict.fromkeys([*found.failures, *(change.case for change in shown)])
    for name in cases:
        print(name)
        if name in found.failures:
            print(f"  worse   {found.failures[name]}")
        for change in shown:
            if change.case == name:
                print(f"  {change.verdict:7} {change.figure:18} {_words(change)}")
    unchanged = sum(change.verdict == "same" for change in found.changes)
    print(f"{counted(unchanged, 'figure')} of {counted(len({c.case for c in found.changes}), 'case')} unchanged")
    for note in found.notes:
        print(f"note: {note}")


def _words(change: Change) -> str:
    if change.score:
        interval = "" if change.interval is None else f" ({change.interval[0]:+.4f} to {change.interval[1]:+.4f})"
        return f"{change.old:.4f} → {change.new:.4f}  {change.change:+.4f}{interval}"
    interval = "" if change.interval is None else f" ({change.interval[0]:.3f} to {change.interval[1]:.3f})"
    return f"{change.old:.4g} → {change.new:.4g}  × {change.change:.3f}{interval}"
