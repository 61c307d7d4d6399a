"""Dataset check: problems found by the dataset's reader, in single images, and by comparing all images.

Keep the imports of this package light: every worker process that decodes images imports it, and would otherwise import torch.
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
    """Read a whole dataset once and report its problems.

    Without `split=`, all splits are read together, because an image that appears in two splits is the problem most often overlooked.
    `near` is the largest number of bits (of 64) in which the perceptual hashes of near-duplicate images differ. `workers` is the number of
    decoding processes; None for one per core if there are many images, 0 to decode in this process.

    Example:
        >>> check("demo:digits?limit=20").ok
        True
    """
    from zoo.curation.check.examination import examine

    return examine(data, task, near=near, workers=workers, progress=progress).findings
