"""The doctor: what is wrong with a data set, found by its own reader, by its pictures and by comparing them all.

Light on purpose: the processes that decode pictures import this package, and would otherwise import torch each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.curation.check.findings import KINDS as KINDS
from zoo.curation.check.findings import NEAR
from zoo.curation.check.findings import Finding as Finding
from zoo.curation.check.findings import Findings as Findings

if TYPE_CHECKING:
    from zoo.system.progress import Progress


def check(
    data: object, task: str = "classification", *, near: int = NEAR, workers: int | None = None, progress: Progress | None = None
) -> Findings:
    """Read a data set whole, once, and report what is wrong with it.

    Without `split=` all splits are read together: the same picture in two of them is the fault that most often goes unseen.

    Args:
        data: a dataset string, a path, or a sequence of samples.
        task: the task whose formats are meant.
        near: bits of 64 in which the perceptual hashes of nearly equal pictures may differ.
        workers: processes that decode; None for one per core where there are many pictures, 0 for none.
        progress: where to show how far it is.

    Raises:
        InputError: nothing there, an unknown format, or `near` outside 0 to 32.

    Example:
        >>> check("demo:digits?limit=20").ok
        True
    """
    from zoo.curation.check.examination import examine

    return examine(data, task, near=near, workers=workers, progress=progress).findings
