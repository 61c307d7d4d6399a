"""What may be chosen about the scores of face embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from zoo.errors import UnknownNameError
from zoo.tasks.face.verification import Score


@dataclass(frozen=True)
class FaceScoring:
    """How embeddings are compared.

    Attributes:
        score: "cosine", or "euclidean" for the distance of the embeddings as the model gives them.
    """

    score: Score = "cosine"

    def __post_init__(self) -> None:
        """Refuse another score.

        Raises:
            UnknownNameError: naming those there are.
        """
        if self.score not in get_args(Score):
            raise UnknownNameError("score of face's scores:", str(self.score), get_args(Score))
