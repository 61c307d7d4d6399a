"""Dataset check: annotation errors, problems of single images, and problems that involve several images.

This package must not import torch at the top level, because every worker process that decodes images imports the package.
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
    """Read a whole dataset and report its problems.

    Without `split=`, all splits are checked together, because images that appear in two splits are often overlooked.

    Args:
        data: dataset string, path or sequence of samples.
        task: name of the task.
        near: maximum Hamming distance between the 64-bit perceptual hashes of near-duplicate images.
        workers: number of decoding processes; 0 decodes in this process. None uses one process per core if there are many images.
        progress: display of the progress bar and messages; None for no display.

    Example:
        >>> check("demo:digits?limit=20").ok
        True
    """
    from zoo.curation.check.examination import examine

    return examine(data, task, near=near, workers=workers, progress=progress).findings
