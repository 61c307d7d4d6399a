"""Options of a detector (input size, limits of detections, size of the head) and of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from zoo.errors import InputError, UnknownNameError, check_positive
from zoo.task.operating import check_threshold
from zoo.tasks.detection.attributes import Attributes, checked_attributes

Evaluator = Literal["faster", "pycocotools"]
SMALL_INPUT = 400
HEADS: Mapping[str, tuple[int, int]] = {  # default of the full head, default of the light head for small inputs
    "fpn_channels": (256, 128),
    "representation_size": (1024, 256),
    "pre_nms_proposals": (1000, 300),
    "proposals": (1000, 200),
    "roi_batch": (512, 128),
    "anchor_scale": (8, 4),
}
_SIZE = 320
_LONGEST = 1333 / 800  # torchvision's limit on the longer side, as a multiple of the shorter side


@dataclass(frozen=True)
class DetectionOptions:
    """Options of `zoo.build(…, task="detection")`.

    The defaults of the six options from `fpn_channels` to `anchor_scale` depend on the image size. Above 400 pixels, the head is that of
    torchvision's `fasterrcnn_resnet50_fpn`. For smaller images, it is a light head, which is several times faster and finds as many objects
    at that size. Options that are None have these defaults.

    Attributes:
        score_threshold: minimum score of a detection; detections with lower scores are dropped.
        nms_threshold: IoU above which non-maximum suppression removes the lower-scoring of two boxes of the same class.
        max_detections: maximum number of detections per image.
        image_size: shorter side of the input in pixels; by default the size used by the weights (800 for torchvision's),
            otherwise 320, small enough to train on a CPU.
        max_image_size: maximum length of the longer side in pixels; by default 1333/800 times the shorter side.
        fpn_channels: number of channels of the feature pyramid (Lin et al. 2017, arXiv 1612.03144); by default 256, or 128 for images up
            to 400 pixels.
        representation_size: width of the two hidden layers of the box head; by default 1024, or 256 for images up to 400 pixels.
        pre_nms_proposals: maximum number of proposals per level before non-maximum suppression, doubled in training; by default 1000, or
            300 for images up to 400 pixels.
        proposals: maximum number of proposals per image after non-maximum suppression, doubled in training; by default 1000, or 200 for
            images up to 400 pixels.
        roi_batch: number of proposals per image on which the box head is trained; by default 512, or 128 for images up to 400 pixels.
        anchor_scale: side of a square anchor, as a multiple of the stride of its level (mmdetection's `scales`): 8 gives anchors of 32
            pixels at stride 4, as in Lin et al. for images of 800 pixels. Smaller values suit objects that are smaller in the scaled
            image. By default 8, or 4 for images up to 400 pixels.
        head_version: 1 for the head of torchvision's `fasterrcnn_resnet50_fpn`, 2 for that of `fasterrcnn_resnet50_fpn_v2` (Li et al. 2021,
            arXiv 2111.11429), with batch-norm in the pyramid, two convolutions in the RPN, and four before the box head's hidden layer.
        attributes: attributes that are predicted for each object: at least two values for each name. By default, there are none.
    """

    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100
    image_size: int | None = None
    max_image_size: int | None = None
    fpn_channels: int | None = None
    representation_size: int | None = None
    pre_nms_proposals: int | None = None
    proposals: int | None = None
    roi_batch: int | None = None
    anchor_scale: int | None = None
    head_version: int = 1
    attributes: Attributes | None = None

    def __post_init__(self) -> None:
        for name, value in {"score_threshold": self.score_threshold, "nms_threshold": self.nms_threshold}.items():
            if not 0 <= value <= 1:
                raise InputError(f"detection: {name} is {value}; expected a number from 0 to 1")
        names = (option.name for option in fields(self))
        numbers = {name: getattr(self, name) for name in names if name != "attributes" and not name.endswith("threshold")}
        check_positive("detection", **{name: value for name, value in numbers.items() if value is not None})
        if self.head_version not in (1, 2):
            raise InputError(f"detection: head_version is {self.head_version}; expected 1 or 2")
        if self.image_size is not None and self.max_image_size is not None and self.max_image_size < self.image_size:
            raise InputError(
                f"detection: max_image_size is {self.max_image_size}; expected a limit on the longer side, "
                f"at least image_size ({self.image_size})"
            )

        if self.attributes is not None:
            object.__setattr__(self, "attributes", checked_attributes(self.attributes) or None)

    def settled(self) -> DetectionOptions:
        """Return the options with every None replaced by its default."""
        size = self.image_size or min(_SIZE, self.max_image_size or _SIZE)
        longest = round(size * _LONGEST) if self.max_image_size is None else self.max_image_size
        head: dict[str, Any] = {name: sizes[size <= SMALL_INPUT] for name, sizes in HEADS.items() if getattr(self, name) is None}
        return replace(self, image_size=size, max_image_size=longest, **head)


@dataclass(frozen=True)
class DetectionScoring:
    """Scoring options of detection.

    Attributes:
        evaluator: evaluation library: "faster" for faster-coco-eval, "pycocotools" for the reference implementation. The scores are equal.
        max_dets: maximum detections per image and class used in scoring (100 in COCO, 300 in LVIS; scores with other limits aren't
            comparable). The last AR score is named accordingly, e.g. AR300.
        threshold: score above which detections count for precision, recall and F1 of the report, in place of the model's operating point
            (zoo tune). AP and AR use all detections.
    """

    evaluator: Evaluator = "faster"
    max_dets: int = 100
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.evaluator not in get_args(Evaluator):
            raise UnknownNameError("evaluator for detection:", str(self.evaluator), get_args(Evaluator))
        if not isinstance(self.max_dets, int) or self.max_dets <= 10:
            raise InputError(f"detection: max_dets is {self.max_dets!r}; expected a whole number above 10, the limit of AR10")
        if self.threshold is not None:
            check_threshold(self.threshold, "detection: threshold")
