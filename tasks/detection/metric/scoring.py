"""What may be chosen about the scores of detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from zoo.errors import InputError, UnknownNameError

Evaluator = Literal["faster", "pycocotools"]


@dataclass(frozen=True)
class DetectionScoring:
    """How detections are counted.

    Attributes:
        evaluator: "faster" for faster-coco-eval, "pycocotools" for the reference; the numbers are the same.
        max_dets: answers of a picture and class that count, the surest first; COCO's is 100. Other limits are for other data
            (LVIS: 300), and their scores are not comparable with COCO's; the last AR is named after the limit.
    """

    evaluator: Evaluator = "faster"
    max_dets: int = 100

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            UnknownNameError: another evaluator.
            InputError: a limit that is not above 10, the limit of AR10.
        """
        if self.evaluator not in get_args(Evaluator):
            raise UnknownNameError("evaluator of detection's scores:", str(self.evaluator), get_args(Evaluator))
        if not isinstance(self.max_dets, int) or self.max_dets <= 10:
            raise InputError(f"detection: max_dets is {self.max_dets!r}; expected a whole number above 10, the limit of AR10")
