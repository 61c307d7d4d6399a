"""What a reader found wrong while opening, as findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.curation.check.findings import KINDS, Finding
from zoo.errors import Fault


def findings(faults: Sequence[Fault], root: Path | None) -> Iterator[Finding]:
    """Turn what the reader found into findings.

    Args:
        faults: as it collected them; those of a kind that the doctor doesn't know (a third party's reader) count as "annotation".
        root: the data's folder, relative to which files are named.
    """
    for fault in faults:
        key = fault.key.removesuffix(f" {fault.place}") if fault.place else fault.key  # a row's key names its table and its place
        if root is not None:
            key = key.removeprefix(f"{root}/")
        yield Finding(fault.kind if fault.kind in KINDS else "annotation", key, fault.reason, fault.place, box=fault.box)
