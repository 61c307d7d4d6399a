"""Options of a detector: input size, limits of the detections, and size of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from zoo.errors import InputError, check_positive

SMALL_INPUT = 400
HEADS: Mapping[str, tuple[int, int]] = {  # of the full head, and of the light one for small inputs
    "fpn_channels": (256, 128),
    "representation_size": (1024, 256),
    "pre_nms_proposals": (1000, 300),
    "proposals": (1000, 200),
    "roi_batch": (512, 128),
    "anchor_scale": (8, 4),
}
_SIZE = 320
_LONGEST = 1333 / 800  # torchvision's limit of the longer side, relative to the shorter one


@dataclass(frozen=True)
class DetectionOptions:
    """Options of `zoo.build(…, task="detection")`.

    Defaults of options that are None depend on the image size. Above 400 pixels the head is that of torchvision's
    `fasterrcnn_resnet50_fpn` (256 channels, 1024 in the box head, 1000 proposals from 1000 per level, 512 of them per image
    used for training, anchors of 8 strides); at 400 or less it is a light one (128 channels, 256, 200 proposals from 300 per
    level, 128, 4 strides), which is several times faster and finds as many objects at that size.

    Attributes:
        score_threshold: score below which detections are dropped.
        nms_threshold: IoU above which the lower-scoring of two boxes of a class is suppressed.
        max_detections: maximum number of detections per image.
        image_size: length in pixels to which the shorter side of images is scaled; None for the size at which the weights were trained
            (torchvision's: 800), or 320 without detection weights, which is feasible to train on a CPU.
        max_image_size: maximum length of the longer side in pixels; None for 1333 / 800 of the shorter one.
        fpn_channels: number of channels of the feature pyramid (Lin et al. 2017, arXiv 1612.03144).
        representation_size: width of the two layers of the box head.
        pre_nms_proposals: number of proposals per level before non-maximum suppression; doubled in training mode.
        proposals: number of proposals per image after non-maximum suppression; doubled in training mode.
        roi_batch: number of proposals per image on which the box head is trained.
        anchor_scale: side of a square anchor as a multiple of its level's stride (mmdetection's `scales`): 8 gives anchors of 32 pixels
            at stride 4, as in Lin et al. for images of 800 pixels; use less for objects that are smaller in the scaled image.
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

    def __post_init__(self) -> None:
        for name, value in {"score_threshold": self.score_threshold, "nms_threshold": self.nms_threshold}.items():
            if not 0 <= value <= 1:
                raise InputError(f"detection: {name} is {value}; expected a number from 0 to 1")
        numbers = {option.name: getattr(self, option.name) for option in fields(self) if not option.name.endswith("threshold")}
        check_positive("detection", **{name: value for name, value in numbers.items() if value is not None})
        if self.image_size is not None and self.max_image_size is not None and self.max_image_size < self.image_size:
            raise InputError(
                f"detection: max_image_size is {self.max_image_size}; expected the limit of the longer side, "
                f"at least image_size ({self.image_size})"
            )

    def settled(self) -> DetectionOptions:
        """Return the options with every None replaced by its default."""
        size = self.image_size or min(_SIZE, self.max_image_size or _SIZE)
        longest = round(size * _LONGEST) if self.max_image_size is None else self.max_image_size
        open_ones = {name: sizes[size <= SMALL_INPUT] for name, sizes in HEADS.items() if getattr(self, name) is None}
        return replace(self, image_size=size, max_image_size=longest, **open_ones)
