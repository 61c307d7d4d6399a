"""Annotation tables in folders: those that tools write beside the images, in the folder itself or in one folder per split."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from zoo.data.columns import Finder
from zoo.data.folders import Folders
from zoo.data.formats import DataRef, escaped_value
from zoo.data.links import check_main
from zoo.data.splits import TABLES, match_split, split_kind
from zoo.data.tables import SUFFIXES, matches
from zoo.errors import InputError


def locate(ref: DataRef, find: Finder) -> tuple[Path, DataRef]:
    """Return the table of a dataset, and the reference to the data in it.

    The path is a table, or a folder that contains one table, itself or in folders of splits, as in Roboflow's exports; the reference then
    has no split.

    Raises:
        DataError: the path doesn't exist, is a folder without a table, or the table in it is a link that isn't followed.
        InputError: the requested split doesn't exist, or none was requested and there are several.
    """
    path = ref.existing("file")
    if not path.is_dir() or (parts := tables_in(path, find, rule="follow")) == {}:
        return ref.file(), ref
    if "" in parts:
        check_main(parts[""], path, ref.links)
        return parts[""], ref
    name = match_split(ref.split, parts) if ref.split is not None else next(iter(parts)) if len(parts) == 1 else None
    if name is None:
        missing = f"no split {ref.split!r}; its splits are: " if ref.split is not None else "it has the splits "
        choice = "" if ref.split is not None else f"; choose one with ?split={escaped_value(next(iter(parts)))}"
        raise InputError(f"data {ref.text!r}: {missing}{', '.join(parts)}{choice}")
    check_main(parts[name], path, ref.links)
    return parts[name], replace(ref, split=None)


def tables_in(folder: Path, find: Finder, *, known: bool = False, rule: str = "own") -> dict[str, Path]:
    """Return the table directly in a folder under the name "", or else those of the folders of its splits by name; empty if there is none.

    Tables with the names that tools use come first; with `known`, there are no others. `rule` is as in `Links`.
    """
    if (table := _table_in(folder, find, known, rule)) is not None:
        return {"": table}
    parts = {part.name: _table_in(part, find, known, rule) for part in Folders(folder, rule).subfolders(folder) if split_kind(part.name)}
    return {name: table for name, table in parts.items() if table is not None}


def recognise_tables(folder: Path, find: Finder) -> str | None:
    """Return why a folder is recognised as one with tables that tools write beside the images; None if it isn't."""
    table = next(iter(tables_in(folder, find, known=True).values()), None)
    return None if table is None else f"it contains {table.relative_to(folder).as_posix()}"


def _table_in(folder: Path, find: Finder, known: bool, rule: str) -> Path | None:
    """Return the only table in a folder in which the columns are found."""
    files = sorted(Path(file) for file in Folders(folder, rule).files(folder, deep=False) if file.lower().endswith(SUFFIXES))
    usual = [file for file in files if re.fullmatch(TABLES, file.name, re.IGNORECASE)]
    found = [file for file in usual or ([] if known else files) if matches(file, find)]
    return found[0] if len(found) == 1 else None
