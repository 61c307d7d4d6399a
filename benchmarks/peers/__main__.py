"""How quick a ResNet is here, beside the ways that people use: `python -m zoo.benchmarks.peers`.

Each row is one piece of work, done by the zoo with OpenVINO (`zoo.compile`) and by other libraries as their own tutorials have it: the same
random weights, the same pictures, the same number of threads. All sides are warmed up and take turns; medians are compared, and so are the
answers. Beside each of the zoo's rows stands the part of this processor's own peak that it reaches, which large matrix products measured in
the same run. Promises about bf16 are for processors that have it: without, these rows are in fp32, and not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from zoo.benchmarks.peers import race
from zoo.benchmarks.peers.race import Outcome
from zoo.benchmarks.peers.roofline import peaks
from zoo.benchmarks.peers.rows import ROWS, Row
from zoo.benchmarks.peers.shared import Setting
from zoo.benchmarks.peers.table import show
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError, ZooError, check_positive
from zoo.system.hardware import cpu_has_bf16


def measure(row: Row, setting: Setting, rounds: int, budget_s: float) -> Outcome:
    """Run a row; an answer that the zoo won't give is what came out of it.

    Args:
        row: of the table.
        setting: shared with other rows.
        rounds: turns of each side.
        budget_s: after which no other turn starts.

    Raises:
        InputError: something that a side needs isn't there.
    """
    precision = row.precision(setting)
    judged = row.int8 or setting.has_bf16
    try:
        contest = row.prepare(setting, precision)
    except InputError:
        raise
    except ZooError as error:
        return Outcome(row.key, row.title, precision, judged, fault=str(error))
    with torch.no_grad():
        return race.run(row.key, row.title, precision, judged, contest, rounds, budget_s)


def chosen(names: Sequence[str]) -> list[Row]:
    """Return the rows with these names, in the table's order.

    Raises:
        UnknownNameError: there is none of a name.
    """
    for name in names:
        if name not in ROWS:
            raise UnknownNameError("row", name, ROWS)
    return [row for key, row in ROWS.items() if key in names]


def check_engines() -> None:
    """Refuse to begin without what is compared.

    Raises:
        InputError: an engine isn't installed.
    """
    for name in ("openvino", "onnxruntime"):
        missing = ENGINES[name].missing()
        if missing is not None:
            raise InputError(missing)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where everything that is judged is what is promised, 1 where something isn't or an answer is wrong, 2 where the input is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"of: {', '.join(ROWS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that every side computes with")
    parser.add_argument("--seconds", type=float, default=120.0, help="of a row's turns, after which none starts; preparing takes its own")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with photos/ and portraits/")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    before = torch.get_num_threads()
    try:
        check_positive("peers", rounds=flags.rounds, threads=flags.threads, seconds=flags.seconds)
        rows = chosen(flags.rows)
        check_engines()
        torch.set_num_threads(flags.threads)
        reached, has_bf16 = peaks(), cpu_has_bf16()
        with tempfile.TemporaryDirectory() as scratch:
            setting = Setting(flags.data, flags.threads, has_bf16, Path(scratch))
            outcomes = [_told(measure(row, setting, flags.rounds, flags.seconds)) for row in rows]
    except ZooError as error:
        print(f"peers: {error}", file=sys.stderr)
        return error.exit_status
    finally:
        torch.set_num_threads(before)
    if flags.json:
        print(json.dumps({"rows": [_figures(each, reached) for each in outcomes], "peaks": reached, "threads": flags.threads,
                          "bf16": has_bf16, "load": os.getloadavg()[0]}))  # fmt: skip
    else:
        show(outcomes, reached, flags.threads)
    return 0 if all(outcome.met for outcome in outcomes) else 1


def _told(outcome: Outcome) -> Outcome:
    """Say that a row is done: all of them take a while."""
    print(f"peers: {outcome.key} is measured, in {outcome.precision}", file=sys.stderr)
    return outcome


def _figures(outcome: Outcome, reached: dict[str, float | None]) -> dict[str, object]:
    return {**asdict(outcome), "part_of_peak": outcome.part_of(reached), "met": outcome.met}


if __name__ == "__main__":
    sys.exit(main())
