"""Options of a face model: the embedding, the input and the margin of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.errors import InputError, check_positive


@dataclass(frozen=True)
class FaceOptions:
    """Options of `zoo.build(…, task="face")`.

    Attributes:
        embedding_size: numbers per face. 128 (as FaceNet and dlib) is enough for thousands of people; InsightFace's models have 512.
        image_size: height and width of the input in pixels; pictures are scaled to this square (112 as in ArcFace).
        margin: the angle in radians that ArcFace adds between a face and its own class (m in Deng et al. 2019, arXiv 1801.07698).
        scale: the radius of the hypersphere that logits are taken on (s in the same paper). The paper's 0.5 and 64 are for millions
            of pictures; with 0.5 and 32 a ResNet-18 from random weights had hardly begun to learn after a hundred steps on drawn
            faces, with the defaults it tells unseen people apart after two hundred.
    """

    embedding_size: int = 128
    image_size: int = 112
    margin: float = 0.2
    scale: float = 16.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            InputError: a size or the scale not above 0, an embedding of one number, or a margin outside 0 to a right angle.
        """
        check_positive("face", image_size=self.image_size, scale=self.scale)
        if self.embedding_size < 2:
            raise InputError(f"face: embedding_size is {self.embedding_size}; expected 2 or more (128 and 512 are usual)")
        if not 0 <= self.margin < math.pi / 2:
            raise InputError(f"face: margin is {self.margin}; expected an angle in radians from 0 to below {math.pi / 2:.2f}")
