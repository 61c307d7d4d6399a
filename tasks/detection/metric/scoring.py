"""Scoring options of detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from zoo.errors import InputError, UnknownNameError

Evaluator = Literal["faster", "pycocotools"]


@dataclass(frozen=True)
class DetectionScoring:
    """Scoring options of detection.

    Attributes:
        evaluator: evaluation library: "faster" for faster-coco-eval, "pycocotools" for the reference. Both give the same scores.
        max_dets: maximum detections per image and class used in scoring (100 in COCO, 300 in LVIS; scores with other limits aren't
            comparable). The last AR score is named accordingly, e.g. AR300.
    """

    evaluator: Evaluator = "faster"
    max_dets: int = 100

    def __post_init__(self) -> None:
        if self.evaluator not in get_args(Evaluator):
            raise UnknownNameError("evaluator for detection:", str(self.evaluator), get_args(Evaluator))
        if not isinstance(self.max_dets, int) or self.max_dets <= 10:
            raise InputError(f"detection: max_dets is {self.max_dets!r}; expected a whole number above 10, the limit of AR10")
