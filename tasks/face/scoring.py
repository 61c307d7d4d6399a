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
        score: "cosine", or "euclidean" for the distance of the embeddings as the model gives them; None for what the model was trained by
            (for several models, or embeddings out of a file, that is taken to be "cosine").
    """

    score: Score | None = None

    def __post_init__(self) -> None:
        """Refuse another score.

        Raises:
            UnknownNameError: naming those there are.
        """
        if self.score is not None and self.score not in get_args(Score):
            raise UnknownNameError("score of face's scores:", str(self.score), get_args(Score))
