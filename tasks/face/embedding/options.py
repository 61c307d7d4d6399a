"""Options of a face model: the embedding, the input, and the loss that it is trained with."""

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
    """What the margin of one loss is.

    Attributes:
        default: the margin where none is given: one that trains from random weights.
        below: margins are smaller than this.
        meaning: in words, for messages.
    """

    default: float
    below: float
    meaning: str


# small enough to train from random weights on a few hundred pictures; on ORL triplets did as well with 0.15 and 0.6
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

    What is None is settled by the weights or by the trunk, where it is a face network; else as said.

    Attributes:
        embedding_size: numbers per face. 128 (as FaceNet and dlib) is enough for thousands of people; InsightFace's models have 512.
            None for 128.
        image_size: height and width of the input in pixels; pictures are scaled to this square. None for 112, as in ArcFace.
        neck: how the trunk's deepest features become an embedding. "mean": the mean over all places, a linear layer and batch-norm;
            "flat" (Deng et al. 2019, section 3.1 and its reference implementation): batch-norm, a linear layer over all places side by
            side and batch-norm, for pictures of one size only; "facenet" and "dlib": those networks' own. None for "mean".
        dropout: part of the features that training leaves out before the linear layer. None for 0.
        alignment: what the faces in the pictures are aligned to, by the name of the five-point template: "arcface", "dlib", "facenet",
            or "none" for pictures as they are. It travels with the model. None for "none".
        distance: "cosine" for embeddings of unit length, "euclidean" for raw ones, whose distance some weights were trained by; such
            embeddings can't be trained further. None for "cosine".
        loss: "arcface" (Deng et al. 2019, arXiv 1801.07698), "cosface" (Wang et al. 2018, arXiv 1801.09414), both of which learn a
            centre for every identity, or "triplet" (Schroff et al. 2015, arXiv 1503.03832; the hardest triplets of a batch as in
            Hermans et al. 2017, arXiv 1703.07737), which has none and compares the pictures of a batch with each other.
        margin: by how much a face is to be nearer to its own identity than to any other. ArcFace: the angle in radians that is added
            between a face and its own centre, 0 to a right angle. CosFace: what is taken from the cosine to its own centre, 0 to 1.
            Triplet: how much farther than the farthest picture of the same person (a distance on the unit sphere, 0 to 2) the nearest
            picture of another person is to be. None for 0.2, 0.1 and 0.3.
        scale: of ArcFace and CosFace, the radius of the hypersphere that logits are taken on (s in both papers). The papers' margins and
            scales (0.5 or 0.35, and 64) are for millions of pictures; with 0.5 and 32 a ResNet-18 from random weights had hardly begun
            to learn after a hundred steps on drawn faces, with the defaults it tells unseen people apart after two hundred.
        sample_rate: of ArcFace and CosFace, the part of the identities that a training step compares with, drawn anew each time (Partial
            FC, An et al. 2021, arXiv 2010.05222): for so many identities that all of them take too much time and memory.
    """

    embedding_size: int | None = None
    image_size: int | None = None
    neck: NeckName | None = None
    dropout: float | None = None
    alignment: AlignmentName | None = None
    distance: DistanceName | None = None
    loss: LossName = "arcface"
    margin: float | None = None
    scale: float = 16.0
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            InputError: a size or the scale not above 0, an embedding of one number, a margin that the loss can't have, or a sample rate
                that is no part, or for a loss that has no centres to draw; a dropout outside 0–1, or where the neck has none.
            UnknownNameError: another loss, neck, alignment or distance.
        """
        check_positive("face", scale=self.scale, **({} if self.image_size is None else {"image_size": self.image_size}))
        if self.embedding_size is not None and self.embedding_size < 2:
            raise InputError(f"face: embedding_size is {self.embedding_size}; expected 2 or more (128 and 512 are usual)")
        for name, known in _NAMES.items():
            if (value := getattr(self, name)) not in (*known, *([] if name == "loss" else [None])):
                raise UnknownNameError(f"{name} of face:", str(value), known)
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"face: dropout is {self.dropout}; expected a part from 0 to below 1")
        if self.dropout and self.neck == "dlib":
            raise InputError(f"face: dropout is {self.dropout}; dlib's neck has none")
        kind = MARGINS[self.loss]
        if not 0 <= self.used_margin < kind.below:
            raise InputError(
                f"face: margin is {self.margin}; expected {kind.meaning} from 0 to below {kind.below:.2f}, as the loss {self.loss} takes"
            )
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"face: sample_rate is {self.sample_rate}; expected a part of the identities, above 0 and at most 1")
        if self.loss == "triplet" and self.sample_rate != 1:
            raise InputError("face: sample_rate is for the losses arcface and cosface; triplet has no centres of identities to draw from")

    def settled(self) -> FaceOptions:
        """Return the options with a value for everything that neither weights nor trunk have settled."""
        return replace(self, **{name: value for name, value in _DEFAULTS.items() if getattr(self, name) is None})

    @property
    def used_margin(self) -> float:
        """The margin: as given, or the loss's default."""
        return MARGINS[self.loss].default if self.margin is None else self.margin
