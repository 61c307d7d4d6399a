"""Verification over the pairs that the data gives: LFW's protocol, and InsightFace's sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.task import MetricResult
from zoo.tasks.face import verification
from zoo.tasks.face.metrics import VerificationMetric, roc_scores
from zoo.tasks.face.pairs import Pair
from zoo.tasks.face.verification import Floats

_UNKNOWN = ""  # the name of a person whom the data doesn't name


class PairsMetric(VerificationMetric):
    """Collects embeddings; scores exactly the given pairs, in the given folds.

    Each fold is decided with the threshold that is best on all the others. Pairs of which a picture was left out are not scored;
    the details say how many. Cosine and Euclidean distance order pairs of unit length alike, so the choice changes no score.
    """

    def __init__(self, classes: tuple[str, ...], pairs: Sequence[Pair]) -> None:
        """Start empty.

        Args:
            classes: names of the identities, by index; empty where nobody knows who is who.
            pairs: the protocol.
        """
        super().__init__(classes)
        self._pairs = pairs

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Take a batch of embeddings [D]; targets may be None.

        Raises:
            InputError: an embedding that is not finite.
        """
        super().update(answers, [_UNKNOWN if target is None else target for target in targets], keys)

    def compute(self, replicates: int = 0) -> MetricResult:
        """Run the protocol; scores that the data doesn't support are None."""
        position = {key: index for index, key in enumerate(self._keys)}
        scored = [pair for pair in self._pairs if pair.first in position and pair.second in position]
        rows = np.array([(position[pair.first], position[pair.second]) for pair in scored], np.int64).reshape(-1, 2)
        embeddings = np.stack(self._embeddings) if self._embeddings else np.empty((0, 1), np.float32)
        similar = verification.similarities(verification.unit_length(embeddings), rows)
        same = np.array([pair.same for pair in scored], np.bool_)
        accuracy, folds = _accuracy(similar, same, np.array([pair.fold for pair in scored], np.int64))
        units, identities, people = self._ordered()
        known = _UNKNOWN not in self._names
        scores = {
            **accuracy,
            **roc_scores(similar[same], similar[~same]),
            "rank1": verification.rank1(units, identities) if known else None,
        }
        counts = {"genuine": int(same.sum()), "impostor": int((~same).sum()), "missing": len(self._pairs) - len(scored)}
        details = {"score": "cosine", "identities": people if known else None, "pictures": len(identities), **folds, "pairs": counts}
        return MetricResult(scores, details=details)


def _accuracy(similar: Floats, same: Any, fold_of: Any) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return accuracy and its standard error over the folds (Huang et al. 2007, equations 1 and 2), and what is known of each fold."""
    folds = [fold_of == fold for fold in np.unique(fold_of)]
    if len(folds) < 2:
        note = "accuracy needs two folds of pairs: the threshold of each is chosen on the others"
        return {"accuracy": None, "accuracy_std": None}, {"folds": len(folds), "threshold": None, "note": note}
    genuine, impostor = [similar[fold & same] for fold in folds], [similar[fold & ~same] for fold in folds]
    accuracies, thresholds = verification.folded_accuracy(genuine, impostor)
    per_fold = [
        {"accuracy": float(accuracy), "threshold": float(threshold), "genuine": len(alike), "impostor": len(different)}
        for accuracy, threshold, alike, different in zip(accuracies, thresholds, genuine, impostor, strict=True)
    ]
    details = {"folds": len(folds), "threshold": float(thresholds.mean()), "per_fold": per_fold}
    return {"accuracy": float(accuracies.mean()), "accuracy_std": float(accuracies.std(ddof=1) / np.sqrt(len(folds)))}, details
