"""Cleaned copies of tables, and the table that says what to keep of formats that are folders alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.curation.check.changes import Change, as_csv, lost_files, mend_box, sizes_hw
from zoo.curation.check.examination import Examination
from zoo.curation.check.findings import Finding
from zoo.data import tables as tabular
from zoo.system.files import write_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_list(examination: Examination, out: Path) -> Iterator[Change]:
    """Write `labels.csv` (path, label, and split where there are splits): the samples that can be read.

    Folders are their own annotation, and the copy is the table that says the same: for classification open it with
    `csv:OUT/labels.csv?root=DATA`.
    """
    lost = lost_files(examination)
    rows = []
    for item in examination.opened.items:
        if item.file in lost:
            yield Change("removed", item.key, "", lost[item.file])
        else:
            rows.append([item.key, " ".join(item.labels), *item.splits[:1]])
    header = ["path", "label", "split"] if any(len(row) > 2 for row in rows) else ["path", "label"]
    write_text(out / "labels.csv", as_csv(header, rows))


def write_table(examination: Examination, out: Path) -> Iterator[Change]:
    """Write the table without its faulty rows, with boxes mended; Parquet becomes CSV."""
    table = examination.opened.path
    assert table is not None
    known = _Known.of(examination, table)
    header: list[str] = []
    rows: dict[tuple[str, ...], None] = {}
    for row in tabular.rows(table, ("path",), (*_SIDES, "label", "split"), []):
        header = header or list(row.values)
        values, change = known.mended(row.values, row.line)
        cells = tuple(values.values())
        if cells in rows:
            values, change = {}, "the same row stands above"
        if values:
            rows[cells] = None
        if change:
            yield Change("changed" if values else "removed", table.name, row.line, change)
    is_tsv = table.suffix.lower() == ".tsv"
    write_text(out / f"{table.stem}{'.tsv' if is_tsv else '.csv'}", as_csv(header, rows, "\t" if is_tsv else ","))


@dataclass(frozen=True)
class _Known:
    """What the examination found out about a table.

    Attributes:
        faulty: the reader's findings by their place.
        files: the pictures' files by the path under which they would be named.
        lost: why a picture can't be read.
        size_hw: height and width of those that can.
    """

    faulty: Mapping[str, Finding]
    files: Mapping[str, Path]
    lost: Mapping[Path, str]
    size_hw: Mapping[Path, tuple[int, int]]

    @classmethod
    def of(cls, examination: Examination, table: Path) -> _Known:
        faulty = {
            finding.place: finding
            for finding in examination.findings.findings
            if finding.key.endswith(table.name) and finding.place.startswith(("line ", "row "))
        }
        files = {name: item.file for item in examination.opened.items if item.file is not None for name in (item.key, str(item.file))}
        return cls(faulty, files, lost_files(examination), sizes_hw(examination))

    def mended(self, values: Mapping[str, str], place: str) -> tuple[dict[str, str], str]:
        """Return a row as it should be, empty where it has to go, and what was done, or ""."""
        file, fault = self.files.get(os.path.normpath(values["path"])), self.faulty.get(place)
        if file is not None and file in self.lost:
            return {}, f"{values['path']} {self.lost[file]}"
        if fault is None:
            return dict(values), ""
        if fault.box is None or fault.kind not in ("box-outside", "box-swapped") or file is None or file not in self.size_hw:
            return {}, fault.text
        box, what = mend_box(fault.box, self.size_hw[file])
        if box is None:
            return {}, f"{fault.text}: {what}"
        sides = {side: f"{value:g}" for side, value in zip(_SIDES, box, strict=True)}
        return {**values, **sides}, f"the box {list(fault.box)} is now {list(box)}: {what}"
