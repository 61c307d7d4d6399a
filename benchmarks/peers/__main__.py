"""Compare the speed of the zoo with other libraries: `python -m zoo.benchmarks.peers`.

Each row of the table is one task. It is performed by the zoo with OpenVINO (`zoo.compile`) and by other libraries as in their tutorials,
with the same random weights, images and number of threads. After a warm-up, the libraries run alternately. Their median times and their
results are compared. The table also shows the fraction of the processor's peak performance that the zoo reaches. The peak is that of large
matrix multiplications, measured in the same run. The targets of bf16 rows apply to processors that support bf16. On other processors, these
rows run in fp32, and their targets don't apply.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console

from zoo.benchmarks.harness.command import log, make_parser, prints_errors, report, torch_threads
from zoo.benchmarks.peers import race
from zoo.benchmarks.peers.race import Outcome
from zoo.benchmarks.peers.roofline import peaks
from zoo.benchmarks.peers.rows import ROWS, Row
from zoo.benchmarks.peers.shared import Setting
from zoo.benchmarks.peers.table import shown
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError, ZooError, check_positive
from zoo.system.hardware import cpu_has_bf16


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


def check_engines() -> None:
    """Raise an `InputError` if one of the compared engines isn't installed."""
    for name in ("openvino", "onnxruntime"):
        missing = ENGINES[name].missing()
        if missing is not None:
            raise InputError(missing)


@prints_errors("peers")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status.

    It is 0 if all results agree and all applicable targets are met, 1 if not, and 2 if the input is invalid.
    """
    parser = make_parser("peers", __doc__)
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"rows to run, one or more of: {', '.join(ROWS)}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=5, help="maximum number of rounds per row")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="number of threads for each library")
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="seconds per row, excluding preparation, after which no further round starts"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that contains photos/ and portraits/")
    flags = parser.parse_args(argv)
    check_positive("peers", rounds=flags.rounds, threads=flags.threads, seconds=flags.seconds)
    rows = chosen(flags.rows)
    check_engines()
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
    return report(flags.json, content, *shown(outcomes, reached, flags.threads), met=met, width=max(160, Console().width))


if __name__ == "__main__":
    sys.exit(main())
