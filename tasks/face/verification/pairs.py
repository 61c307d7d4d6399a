"""Verification over the pairs and folds that a dataset defines, as in LFW's protocol and InsightFace's verification sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.task.metric import MetricResult
from zoo.task.operating import Decisions
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.identification import closed_set, open_probes
from zoo.tasks.face.verification.metric import Folded, VerificationMetric
from zoo.tasks.face.verification.operating import (
    IDENTIFICATION,
    VERIFICATION,
    identification_decisions,
    verification_decisions,
)
from zoo.tasks.face.verification.protocol import Floats, Ints, Score

_UNKNOWN = ""  # stands for the name of a person whose identity is unknown


@dataclass(frozen=True, slots=True)
class Pair:
    """Keys of two images to compare, whether both show the same person, and the index of the pair's fold, from 0."""

    first: str
    second: str
    same: bool
    fold: int


def placed(pairs: Sequence[Pair], keys: Iterable[str]) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """Return all pairs whose two images are in `keys`: positions in `keys` [P, 2], whether they show the same person [P], and folds [P]."""
    place = {key: index for index, key in enumerate(keys)}
    found = [pair for pair in pairs if pair.first in place and pair.second in place]
    places = np.array([(place[pair.first], place[pair.second]) for pair in found], np.int64).reshape(-1, 2)
    return places, np.array([pair.same for pair in found], np.bool_), np.array([pair.fold for pair in found], np.int64)


@dataclass(frozen=True)
class PairedDataset(Dataset):
    """Dataset that defines the pairs to score; no other pairs are scored.

    Attributes:
        pairs: pairs in the order of the protocol. A pair with an unreadable image is kept here and counted as missing.
    """

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, pairs: Iterable[Pair], all_keys: Collection[str]) -> PairedDataset:
        """Attach the pairs of a protocol to a dataset. Pairs with an image that `classes=` or `limit=` removed are dropped.

        Args:
            dataset: dataset after the selection by `classes=` and `limit=`.
            pairs: pairs of the protocol.
            all_keys: keys of all images before the selection.
        """
        unwanted = set(all_keys) - set(dataset.keys)
        kept = tuple(pair for pair in pairs if pair.first not in unwanted and pair.second not in unwanted)
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pairs=kept)


class PairsMetric(VerificationMetric):
    """Verification metric that scores exactly the given pairs, in the given folds.

    The pairs of a fold are classified with the threshold that has the highest accuracy on all other folds. Pairs with a skipped image are
    not scored, and the details report their number. For unit-length embeddings, cosine and Euclidean distance give the same scores, because
    they order pairs in the same way.
    """

    def __init__(self, classes: tuple[str, ...], pairs: Sequence[Pair], score: Score = "cosine", threshold: float | None = None) -> None:
        """Create an empty metric.

        Args:
            classes: names of the identities by index, empty if identities are unknown.
            pairs: pairs to score.
            score: measure of similarity.
            threshold: distance at which the model decides, which is marked in the report; None for none.
        """
        super().__init__(classes, score, threshold=threshold)
        self._pairs = pairs

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add a batch of embeddings, [D] each; the targets of unknown people are None."""
        super().update(answers, [_UNKNOWN if target is None else target for target in targets], keys)

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute all scores; None for those that the dataset doesn't support."""
        keys, rows, identities, people = self._ordered()
        compared, units, fold_of = self._compared(keys, rows, identities)
        same = compared.genuine
        known = self._known_people()
        identified, unit_count = (closed_set(rows, identities, self._score), people) if known else (None, len(same))
        folded = _accuracy(units, fold_of)
        whole = _whole(folded[1].get("per_fold", []), self._pairs)
        counts = {"genuine": int(same.sum()), "impostor": int((~same).sum()), "missing": len(self._pairs) - len(same)}
        return self._result(keys, folded, whole, compared, counts, units, unit_count, replicates, identified)

    def decisions(self) -> dict[str, Decisions]:
        """Return the decisions about the pairs, and those of identification if all identities are known."""
        keys, rows, identities, people = self._ordered()
        _, units, _ = self._compared(keys, rows, identities)
        known = self._known_people()
        probes = open_probes(rows, identities, self._score) if known else None
        return {
            VERIFICATION: verification_decisions(units, people if known else len(units.genuine), self._score),
            IDENTIFICATION: identification_decisions(probes, people, self._score),
        }

    def _known_people(self) -> bool:
        return all(name != _UNKNOWN for _, name, _ in self._found)

    def _compared(self, keys: Sequence[str], rows: Floats, identities: Ints) -> tuple[Pairs, Pairs, Ints]:
        """Return the pairs as indices into `keys`, the same pairs as bootstrap units (people, or pairs if unknown), and their folds."""
        places, same, fold_of = placed(self._pairs, keys)
        compared = Pairs(protocol.similarities(rows, places, self._score), same, places[:, 0], places[:, 1])
        first, second = (identities[places[:, side]] if self._known_people() else np.arange(len(same)) for side in (0, 1))
        return compared, replace(compared, first=first, second=second), fold_of


def _whole(per_fold: Sequence[Mapping[str, Any]], pairs: Sequence[Pair]) -> float | None:
    """Return the mean accuracy over all folds, in which pairs with a missing face count as errors; None if no fold was scored."""
    wanted = Counter(pair.fold for pair in pairs)
    if not per_fold:
        return None
    right = dict.fromkeys(wanted, 0.0)  # folds without scored pairs have an accuracy of 0
    right |= {fold["fold"]: fold["accuracy"] * (fold["genuine"] + fold["impostor"]) for fold in per_fold}
    return float(np.mean([right[fold] / wanted[fold] for fold in wanted]))


def _accuracy(pairs: Pairs, fold_of: Ints) -> Folded:
    """Return mean accuracy and standard error (Huang et al. 2007, equations 1, 2), the folds' details, and the classified pairs."""
    similar, same = pairs.values, pairs.genuine
    numbers = np.unique(fold_of)
    folds = [fold_of == fold for fold in numbers]
    if len(folds) < 2:
        note = "accuracy needs at least two folds of pairs, because the threshold of a fold is chosen on the other folds"
        return {"accuracy": None, "accuracy_std": None}, {"folds": len(folds), "threshold": None, "note": note}, None
    genuine, impostor = [similar[fold & same] for fold in folds], [similar[fold & ~same] for fold in folds]
    accuracies, thresholds = protocol.folded_accuracy(genuine, impostor)
    columns = zip(numbers.tolist(), accuracies.tolist(), thresholds.tolist(), genuine, impostor, strict=True)
    per_fold = [
        {"fold": number, "accuracy": accuracy, "threshold": threshold, "genuine": len(alike), "impostor": len(different)}
        for number, accuracy, threshold, alike, different in columns
    ]
    details: dict[str, Any] = {"folds": len(folds), "threshold": float(thresholds.mean()), "per_fold": per_fold}
    right = (similar >= thresholds[np.searchsorted(numbers, fold_of)]) == same
    scores: dict[str, float | None] = {
        "accuracy": float(accuracies.mean()),
        "accuracy_std": float(accuracies.std(ddof=1) / np.sqrt(len(folds))),
    }
    return scores, details, replace(pairs, values=right)
