"""The `zoo tune` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from zoo.cli.context import print_json, progress_of
from zoo.cli.flags import BatchSize, RunFlags, Workers
from zoo.cli.heads import check_data, head_values
from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES

if TYPE_CHECKING:
    from zoo.evaluation.tune import OperatingPoint
    from zoo.models.model import Model

_DATA = (
    "Validation data, on which the model wasn't trained: a path, or a dataset string scheme:path[?split=…&classes=…&limit=…]. "
    "For a model with several heads NAME=DATA, or NAME,NAME=DATA, once for each head to tune."
)


@dataclass(frozen=True)
class TuneFlags:
    """Which model to tune, on which data, and for what."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved or exported model, of which only model.json is changed; or hf:OWNER/NAME, with --out."""
    data: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(help=_DATA, help_behavior_hint="(required)")]
    target: str = "f1"
    """What the thresholds are chosen for: f1 (highest F1), precision=P (greatest recall with at least this precision), recall=R (highest
    precision with at least this recall), or cost=fp:A,fn:B (lowest cost of false positives and false negatives)."""
    positive: str | None = None
    """Classification with two classes only: the class that is predicted above the threshold; by default the second class."""
    align: str | None = None
    """Face task only: detect the main face of each image with this detector (mtcnn, or the folder of a detection model) and align it."""
    out: Path | None = None
    """Folder for a copy of a model from the Hub, in which the thresholds are stored."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals; 0 disables the intervals."""
    batch_size: BatchSize = None
    workers: Workers = None


@dataclass(frozen=True)
class Flags:
    """Choose the thresholds at which a model decides on validation data, and store them in its model.json."""

    main: Annotated[tyro.conf.OmitArgPrefixes[TuneFlags], tyro.conf.arg(name="tune", help="")]
    run: Annotated[tyro.conf.OmitArgPrefixes[RunFlags], tyro.conf.arg(name="general")]


def run(flags: Flags) -> int:
    """Run the command and return its exit status."""
    main = flags.main
    check_data(main.data)
    if main.replicates < 0:
        raise InputError(f"--replicates is {main.replicates}; expected 0 or more")
    from zoo.evaluation.tune import OperatingPoint, tune
    from zoo.models.config import check_changeable, model_folder, read_description

    remote = None if main.out is None else _of_hub(main.model, main.out)
    if remote is None:
        check_changeable(main.model)
    folder = main.out or model_folder(main.model)
    config = read_description(folder)[0] if remote is None else remote.config
    data = head_values("--data", main.data, [*config.heads])
    with progress_of(flags.run.quiet) as progress:
        found = tune(
            remote or folder, data, main.target, positive=main.positive, align=main.align, batch_size=main.batch_size, workers=main.workers,
            replicates=main.replicates, progress=progress, **flags.run.reading,
        )  # fmt: skip
    if remote is not None:
        _store(remote, folder)
    if flags.run.json:
        one = isinstance(found, OperatingPoint)
        print_json({"model": str(folder), **(found.to_dict() if one else {"heads": {name: own.to_dict() for name, own in found.items()}})})
        return 0
    for name, own in {"": found}.items() if isinstance(found, OperatingPoint) else found.items():
        if name:
            print(f"{name}:")
        _show(own)
    print(f"stored in {folder / 'model.json'}")
    return 0


def _of_hub(place: Path, out: Path) -> Model:
    """Load a model from the Hub, of which a copy will be written to a folder."""
    from zoo.artefacts.hub.reference import is_reference
    from zoo.models.archive import check_place, load

    if not is_reference(place):
        raise InputError(f"--out {out} is for models of the Hub (hf:OWNER/NAME); omit it: the thresholds are stored in {place}")
    model = load(place)
    check_place(out, model.compiled)
    return model


def _store(model: Model, folder: Path) -> None:
    """Write a copy of a model from the Hub to a folder, with the metadata of the model."""
    from zoo.models.config import store_metadata
    from zoo.publishing.pull import pull

    assert model.hub is not None, "it was loaded from the Hub"
    pull(f"hf:{model.hub['repository']}@{model.hub['commit']}", folder)
    store_metadata(folder, model.metadata)


def _show(found: OperatingPoint) -> None:
    """Print the operating point of one head as a table, with the classes that keep their default."""
    from rich.console import Console
    from rich.table import Column, Table

    from zoo.cli.tables import number

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(Column("class", overflow="fold"), "threshold", "95 % interval", "precision", "recall", "expected", "n", pad_edge=False)
    for name, point in found.classes.items():
        rates = [point.expected_precision, point.expected_recall]
        expected = "" if None in rates else ", ".join(f"{rate:.2f}" for rate in rates)
        low_high = "" if point.interval is None else f"{point.interval[0]:.3f} – {point.interval[1]:.3f}"
        shown = [number(point.threshold), low_high, number(point.precision), number(point.recall), expected]
        table.add_row(name, *shown, str(point.n))
    console.print(f"{found.data}, target {found.target}, {found.n} images", soft_wrap=True)
    console.print(table)
    for name, why in found.kept.items():
        console.print(f"{name} keeps its default: {why}", soft_wrap=True)
    for fault in found.skipped:
        console.print(f"skipped: {fault}", soft_wrap=True)
