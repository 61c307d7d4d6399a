"""Cleaned copies of tables, and a table of the samples to keep for formats without annotation files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.curation.check.changes import Change, as_csv, lost_files, mend_box, sizes_hw
from zoo.curation.check.examination import Examination
from zoo.curation.check.findings import Finding
from zoo.data import tables
from zoo.system.files import write_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_list(examination: Examination, out: Path) -> Iterator[Change]:
    """Write the readable samples to `labels.csv`, with the columns path, label and, if the data has splits, split.

    Folders have no annotation file to clean, so the copy is an equivalent table: for classification, open it with
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
    """Write the table without its invalid rows and with fixed boxes; Parquet becomes CSV."""
    table = examination.opened.path
    assert table is not None
    known = _Known.of(examination, table)
    header: list[str] = []
    rows: dict[tuple[str, ...], None] = {}
    for row in tables.rows(table, ("path",), (*_SIDES, "label", "split"), []):
        header = header or list(row.values)
        values, change = known.fixed(row.values, row.line)
        cells = tuple(values.values())
        if cells in rows:
            values, change = {}, "duplicate of an earlier row"
        if values:
            rows[cells] = None
        if change:
            yield Change("changed" if values else "removed", table.name, row.line, change)
    is_tsv = table.suffix.lower() == ".tsv"
    write_text(out / f"{table.stem}{'.tsv' if is_tsv else '.csv'}", as_csv(header, rows, "\t" if is_tsv else ","))


@dataclass(frozen=True)
class _Known:
    """Result of the check that concerns a table.

    Attributes:
        faulty: findings of the reader, by place.
        files: image files, by the paths that can name them in the table.
        lost: reason why an image can't be read, by file.
        size_hw: height and width of each readable image, by file.
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

    def fixed(self, values: Mapping[str, str], place: str) -> tuple[dict[str, str], str]:
        """Return the fixed row, empty if it must be removed, and a description of the change ("" for none)."""
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
        return {**values, **sides}, f"box {list(fault.box)} changed to {list(box)}: {what}"
