"""Conversion of annotation errors to findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.curation.check.findings import KINDS, Finding
from zoo.errors import Fault


def findings(faults: Sequence[Fault], root: Path | None) -> Iterator[Finding]:
    """Convert annotation errors to findings.

    Args:
        faults: errors collected by the reader; those of an unknown kind (from a third-party reader) become kind "annotation".
        root: dataset folder, to which file names are made relative; None to keep them.
    """
    for fault in faults:
        key = fault.key.removesuffix(f" {fault.place}") if fault.place else fault.key  # the key of a table row ends with its place
        if root is not None:
            key = key.removeprefix(f"{root}/")
        yield Finding(fault.kind if fault.kind in KINDS else "annotation", key, fault.reason, fault.place, box=fault.box)
