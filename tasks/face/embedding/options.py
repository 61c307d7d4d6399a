"""Options of a face model: the embedding, the input and the training loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from zoo.errors import InputError, UnknownNameError, check_positive

LossName = Literal["arcface", "cosface", "triplet"]
NeckName = Literal["mean", "flat", "facenet", "dlib"]
AlignmentName = Literal["none", "arcface", "dlib", "facenet"]
DistanceName = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class MarginKind:
    """Margin of a loss: its default, its exclusive upper bound, and its meaning (for messages)."""

    default: float
    below: float
    meaning: str


# small enough to train from random weights on a few hundred images; on ORL, triplet margins of 0.15 and 0.6 gave equal scores
MARGINS: dict[LossName, MarginKind] = {
    "arcface": MarginKind(0.2, math.pi / 2, "an angle in radians"),
    "cosface": MarginKind(0.1, 1.0, "a difference of cosines"),
    "triplet": MarginKind(0.3, 2.0, "a difference of distances between points of the unit sphere"),
}


_NAMES: Mapping[str, tuple[str, ...]] = {
    "loss": get_args(LossName),
    "neck": get_args(NeckName),
    "alignment": get_args(AlignmentName),
    "distance": get_args(DistanceName),
}
_DEFAULTS: Mapping[str, Any] = {
    "embedding_size": 128, "image_size": 112, "neck": "mean", "dropout": 0.0, "alignment": "none", "distance": "cosine",
}  # fmt: skip


@dataclass(frozen=True)
class FaceOptions:
    """Options of `zoo.build(…, task="face")`.

    For an option that is None, the value stored with the weights is used; otherwise the value of the backbone, if that is a face
    network; otherwise the default listed here.

    Attributes:
        embedding_size: length of the embedding. 128 (as in FaceNet and dlib) is enough for thousands of people; InsightFace's models use
            512. By default taken from the pretrained weights (or the backbone, if it is a face network such as dlib's), otherwise 128.
        image_size: height and width of the input in pixels. By default taken from the pretrained weights (or the backbone, if it is a face
            network such as dlib's), otherwise 112, as in ArcFace.
        neck: layers between the deepest features of the backbone and the embedding. "mean": global average pooling, a linear layer and
            batch norm. "flat" (Deng et al. 2019, section 3.1 and the paper's reference implementation): batch norm, a linear layer over the
            flattened positions and batch norm; for images of a fixed size. "facenet" and "dlib": the necks of those networks. By default
            taken from the pretrained weights (or the backbone, if it is a face network such as dlib's), otherwise "mean".
        dropout: dropout rate, in [0, 1), applied before the linear layer during training. By default taken from the pretrained weights (or
            the backbone, if it is a face network such as dlib's), otherwise 0.
        alignment: template to which faces are aligned: "arcface", "dlib", "facenet", or "none" for unaligned images. It is saved with the
            model. By default taken from the pretrained weights (or the backbone, if it is a face network such as dlib's), otherwise "none".
        distance: distance between embeddings: "cosine" for unit-length embeddings, or "euclidean" for unnormalised embeddings, as required
            by some pretrained weights (such models can't be fine-tuned). By default taken from the pretrained weights (or the backbone, if
            it is a face network such as dlib's), otherwise "cosine".
        loss: training loss. "arcface" (Deng et al. 2019, arXiv 1801.07698) and "cosface" (Wang et al. 2018, arXiv 1801.09414) learn a
            centre for every identity. "triplet" (Schroff et al. 2015, arXiv 1503.03832, with the batch-hard mining of Hermans et al.
            2017, arXiv 1703.07737) has no centres and compares the images in a batch with each other.
        margin: margin by which a face must be nearer to its own identity than to any other. ArcFace: angle in radians added to the angle
            between a face and its centre, in [0, π/2). CosFace: value subtracted from the cosine, in [0, 1). Triplet: minimum margin, in
            [0, 2), between the distance to the hardest negative and the distance to the hardest positive. By default 0.2 for ArcFace, 0.1
            for CosFace, 0.3 for triplet.
        scale: scale s of the logits (ArcFace, CosFace). The papers use 64 on millions of images; smaller values converge faster on small
            datasets.
        sample_rate: fraction of the identities used in each training step of ArcFace or CosFace, drawn at random (Partial FC, An et al.
            2021, arXiv 2010.05222). Lower values save time and memory on data with very many identities.
    """

    embedding_size: int | None = None
    image_size: int | None = None
    neck: NeckName | None = None
    dropout: float | None = None
    alignment: AlignmentName | None = None
    distance: DistanceName | None = None
    loss: LossName = "arcface"
    margin: float | None = None
    # with margin 0.5 and scale 32, a ResNet-18 from random weights had hardly begun to learn after 100 steps on the demo faces; with the
    # defaults, it distinguishes unseen people after 200
    scale: float = 16.0
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        check_positive("face", scale=self.scale, **({} if self.image_size is None else {"image_size": self.image_size}))
        if self.embedding_size is not None and self.embedding_size < 2:
            raise InputError(f"face: embedding_size is {self.embedding_size}; expected 2 or more (128 and 512 are usual)")
        for name, known in _NAMES.items():
            if (value := getattr(self, name)) not in (*known, *([] if name == "loss" else [None])):
                raise UnknownNameError(f"{name} of face:", str(value), known)
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"face: dropout is {self.dropout}; expected a value in [0, 1)")
        if self.dropout and self.neck == "dlib":
            raise InputError(f"face: dropout is {self.dropout}; expected 0, because dlib's neck has no dropout")
        kind = MARGINS[self.loss]
        if not 0 <= self.used_margin < kind.below:
            raise InputError(f"face: margin is {self.margin}; expected {kind.meaning} in [0, {kind.below:.2f}) for the loss {self.loss}")
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"face: sample_rate is {self.sample_rate}; expected a fraction of the identities, above 0 and up to 1")
        if self.loss == "triplet" and self.sample_rate != 1:
            raise InputError("face: sample_rate applies to the losses arcface and cosface; triplet has no identity centres to sample")

    def settled(self) -> FaceOptions:
        """Return the options with every None replaced by its default, except for the margin."""
        return replace(self, **{name: value for name, value in _DEFAULTS.items() if getattr(self, name) is None})

    @property
    def used_margin(self) -> float:
        """The margin if it is set, otherwise the default of the loss."""
        return MARGINS[self.loss].default if self.margin is None else self.margin
