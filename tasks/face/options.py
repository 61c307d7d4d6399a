"""Options of a face model: the embedding, the input, and the loss that it is trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from zoo.errors import InputError, UnknownNameError, check_positive

LossName = Literal["arcface", "cosface", "triplet"]


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


# as they trained best of those tried on 24 people of ORL, with embeddings of 128 numbers; see FaceOptions
MARGINS: dict[LossName, MarginKind] = {
    "arcface": MarginKind(0.2, math.pi / 2, "an angle in radians"),
    "cosface": MarginKind(0.1, 1.0, "a difference of cosines"),
    "triplet": MarginKind(0.3, 2.0, "a difference of distances between points of the unit sphere"),
}


@dataclass(frozen=True)
class FaceOptions:
    """Options of `zoo.build(…, task="face")`.

    Attributes:
        embedding_size: numbers per face. 128 (as FaceNet and dlib) is enough for thousands of people; InsightFace's models have 512.
        image_size: height and width of the input in pixels; pictures are scaled to this square (112 as in ArcFace).
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

    embedding_size: int = 128
    image_size: int = 112
    loss: LossName = "arcface"
    margin: float | None = None
    scale: float = 16.0
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            InputError: a size or the scale not above 0, an embedding of one number, a margin that the loss can't have, or a sample rate
                that is no part, or for a loss that has no centres to draw.
            UnknownNameError: another loss.
        """
        check_positive("face", image_size=self.image_size, scale=self.scale)
        if self.embedding_size < 2:
            raise InputError(f"face: embedding_size is {self.embedding_size}; expected 2 or more (128 and 512 are usual)")
        if self.loss not in get_args(LossName):
            raise UnknownNameError("loss of face:", str(self.loss), get_args(LossName))
        kind = MARGINS[self.loss]
        if not 0 <= self.used_margin < kind.below:
            raise InputError(
                f"face: margin is {self.margin}; expected {kind.meaning} from 0 to below {kind.below:.2f}, as the loss {self.loss} takes"
            )
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"face: sample_rate is {self.sample_rate}; expected a part of the identities, above 0 and at most 1")
        if self.loss == "triplet" and self.sample_rate != 1:
            raise InputError("face: sample_rate is for the losses arcface and cosface; triplet has no centres of identities to draw from")

    @property
    def used_margin(self) -> float:
        """The margin: as given, or the loss's default."""
        return MARGINS[self.loss].default if self.margin is None else self.margin
