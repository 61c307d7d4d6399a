"""Metric for face embeddings: verification over pairs, and identification in a gallery of one image per person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError
from zoo.registry import natural_key
from zoo.task.metric import MetricResult
from zoo.task.operating import Decisions
from zoo.tasks.face.embedding.distances import check_answer, check_length
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.bootstrap import Pairs, face_replicates
from zoo.tasks.face.verification.identification import RANKS, Identified, closed_set, open_probes, open_set
from zoo.tasks.face.verification.operating import (
    IDENTIFICATION,
    VERIFICATION,
    identification_decisions,
    lowest_accepted,
    verification_decisions,
)
from zoo.tasks.face.verification.protocol import Floats, Ints, Score
from zoo.tasks.face.verification.report import face_curves, worst_pairs
from zoo.tasks.face.verification.roc import roc_scores, unsupported

FOLDS = 10  # as in LFW
DEALINGS = 10  # number of random assignments of people to folds
LEAST_FOLDS = 4  # with fewer folds, no people are left for choosing a threshold
MAX_PAIRS = 2_000_000  # maximum number of genuine pairs, and of impostor pairs, in the ROC; larger sets are subsampled
MAX_FOLD_PAIRS = 3_000  # maximum number of genuine pairs, and of impostor pairs, per fold; ten times as many as in LFW
Folded = tuple[dict[str, float | None], dict[str, Any], Pairs | None]  # accuracy, details of the folds, classified pairs
_SEED = 0  # seed of folds and pairs; fixed, so that a dataset is always scored on the same pairs


class VerificationMetric:
    """Verification and identification metric over pairs formed from the identities of a dataset.

    The accuracy is measured on identity-disjoint folds, over the genuine pairs of a fold and the same number of impostor pairs. The
    threshold of a fold is the one with the highest accuracy on pairs of people in other folds. AUC, EER and TAR@FAR are measured over the
    pairs of the whole dataset. With the cosine, the norms of embeddings have no influence. The scores don't depend on the order of the
    images or on the batch size.
    """

    def __init__(
        self, classes: tuple[str, ...], score: Score = "cosine", manifest: Mapping[str, Any] | None = None, threshold: float | None = None
    ) -> None:
        """Create an empty metric for identities with the names `classes`, which is empty if the targets are names.

        Args:
            classes: names of the identities.
            score: measure of similarity.
            manifest: the target of every sample by key, including samples that will be skipped; None if no sample is skipped.
            threshold: distance at which the model decides, which is marked in the report; None for none.
        """
        self._classes, self._score, self._manifest, self._threshold = classes, score, manifest, threshold
        self._found: list[tuple[str, str, NDArray[np.float32]]] = []  # key, name of the person, embedding

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Add a batch of embeddings, [D] each, with their identities."""
        for embedding, target, key in zip(answers, targets, keys, strict=True):
            if target is None:
                raise InputError(f"{key} has no identity; verification needs the identity of every image")
            embedding = np.asarray(embedding)
            check_answer(embedding, key)
            if self._found:
                try:
                    check_length(len(embedding), len(self._found[0][2]), self._found[0][0])
                except Flaw as flaw:
                    raise InputError(f"{key}: {flaw}") from None
            self._found.append((key, self._named(target), embedding))

    def state(self) -> Any:
        """Return the keys, people's names and embeddings collected so far."""
        return self._found

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the state with the merged states of several processes."""
        self._found = [entry for state in states for entry in state]

    def compute(self, replicates: int = 0) -> MetricResult:
        """Compute all scores; None for those that need more images or people than the dataset has."""
        keys, rows, identities, people = self._ordered()
        folded = _accuracy(rows, identities, self._score)
        accuracy = folded[0]["accuracy"]
        whole = None if accuracy is None else accuracy * self._share_found(identities)
        compared, counts = _compared(rows, identities, self._score)
        units = replace(compared, first=identities[compared.first], second=identities[compared.second])
        identified, unknown = closed_set(rows, identities, self._score), open_set(rows, identities, self._score)
        return self._result(keys, folded, whole, compared, counts, units, people, replicates, identified, unknown)

    def decisions(self) -> dict[str, Decisions]:
        """Return the decisions of verification, about the pairs of the ROC, and of identification, about the probes of the open set."""
        _, rows, identities, people = self._ordered()
        compared, _ = _compared(rows, identities, self._score)
        units = replace(compared, first=identities[compared.first], second=identities[compared.second])
        return {
            VERIFICATION: verification_decisions(units, people, self._score),
            IDENTIFICATION: identification_decisions(open_probes(rows, identities, self._score), people, self._score),
        }

    def _result(
        self,
        keys: Sequence[str],
        folded: Folded,
        whole: float | None,
        compared: Pairs,
        counts: Mapping[str, int],
        units: Pairs,
        unit_count: int,
        replicates: int,
        identified: Identified | None,
        unknown: tuple[dict[str, float | None], dict[str, int]] | None = None,
    ) -> MetricResult:
        """Return the scores, details, bootstrap replicates, mistakes and curves.

        The accuracy `whole` counts pairs with a missing face as errors. `compared` are the pairs for the ROC as indices into `keys`, and
        `units` the same pairs as bootstrap units, which are people, or pairs if identities are unknown (`identified` is None). Open-set
        identification is not scored if `unknown` is None.
        """
        accuracy, folds, decided = folded
        genuine, impostor = compared.values[compared.genuine], compared.values[~compared.genuine]
        rejected, probes = unknown or ({}, {})
        scores = {
            **accuracy,
            "accuracy_all": whole,
            **roc_scores(genuine, impostor),
            **{f"rank{rank}": None if identified is None else identified.rate(rank) for rank in RANKS},
            **rejected,
        }
        details = {
            "score": self._score,
            "flip": False,
            "identities": None if identified is None else unit_count,
            "pictures": len(keys),
            **folds,
            "pairs": counts,
            "not_supported": unsupported(counts["impostor"]),
            **({} if unknown is None else {"open_set": probes}),
            "bootstrap": {"over": "pairs" if identified is None else "identities", "replicates": replicates},
        }
        drawn = face_replicates(unit_count, replicates if unit_count else 0, units, decided, accuracy["accuracy"], identified)
        limit = None if self._threshold is None else lowest_accepted(self._threshold, self._score)
        curves = face_curves(genuine, impostor, identified, limit, self._threshold)
        mistakes = worst_pairs(compared, keys, folds["threshold"], self._score)
        return MetricResult(scores, details=details, replicates=drawn, mistakes=mistakes, curves=curves)

    def _share_found(self, identities: Ints) -> float:
        """Return the fraction of all pairs whose two images have an embedding.

        It is the mean of the fractions of genuine and of impostor pairs, because a fold has equally many of both.
        """
        if self._manifest is None:
            return 1.0
        everybody = np.unique([self._named(target) for target in self._manifest.values() if target is not None], return_inverse=True)[1]
        shares = [got / wanted for got, wanted in zip(protocol.count_pairs(identities), protocol.count_pairs(everybody), strict=True)]
        return sum(shares) / 2

    def _named(self, target: Any) -> str:
        return self._classes[target] if self._classes else str(target)

    def _ordered(self) -> tuple[list[str], Floats, Ints, int]:
        """Return the keys in natural order, their comparable embeddings [N, D] and identities [N], and the number of people.

        An image that was added twice, as padded samplers do, counts once.
        """
        of_key = {key: (name, embedding) for key, name, embedding in self._found}
        keys = sorted(of_key, key=lambda key: (natural_key(key), key))
        people = sorted({name for _, name, _ in self._found}, key=lambda name: (natural_key(name), name))
        number = {name: index for index, name in enumerate(people)}
        rows = np.stack([of_key[key][1] for key in keys]) if keys else np.empty((0, 1), np.float32)
        identities = np.array([number[of_key[key][0]] for key in keys], np.int64)
        return keys, protocol.comparable(rows, self._score), identities, len(people)


def _accuracy(rows: Floats, identities: Ints, score: Score) -> Folded:
    """Return the accuracy and its standard error over the folds, the details of each fold, and the decisions of all folds.

    The genuine pairs of a fold show its people. Its impostor pairs combine two of its people, or one of them with a person from the next
    four folds, so that the score of a fold of two people doesn't depend on a single pair of faces. The threshold is chosen on pairs of
    people outside these folds. No person in a scored pair is therefore used to choose its threshold.

    With few people, the accuracy depends on how they are assigned to folds, so the assignment is repeated `DEALINGS` times. The accuracy
    and its standard error are means over the assignments. Repetitions don't reduce the standard error, because they add no new people.
    """
    count = min(FOLDS, int((np.bincount(identities) > 1).sum()))
    if count < LEAST_FOLDS:
        reason = "accuracy needs at least four people with two images each"
        return {"accuracy": None, "accuracy_std": None}, {"folds": count, "threshold": None, "note": reason}, None
    folds, decided = zip(
        *(fold for number in range(DEALINGS) for fold in _dealing(rows, identities, score, count, _SEED + number)), strict=True
    )
    accuracies = np.array([fold["accuracy"] for fold in folds]).reshape(DEALINGS, count)
    details: dict[str, Any] = {
        "folds": count,
        "dealings": DEALINGS,
        "accuracy_per_dealing": accuracies.mean(1).tolist(),
        "threshold": float(np.mean([fold["threshold"] for fold in folds])),
        "per_fold": list(folds),
    }
    if count < FOLDS:
        details["note"] = f"{count} folds instead of {FOLDS}, because each fold needs a person with two images"
    errors = accuracies.std(1, ddof=1) / np.sqrt(count)
    columns = (np.concatenate([getattr(pairs, name) for pairs in decided]) for name in ("values", "genuine", "first", "second"))
    return {"accuracy": float(accuracies.mean()), "accuracy_std": float(errors.mean())}, details, Pairs(*columns)


def _dealing(rows: Floats, identities: Ints, score: Score, count: int, seed: int) -> list[tuple[dict[str, Any], Pairs]]:
    """Assign the people to `count` folds once and score each fold."""
    rng = np.random.default_rng(seed)
    fold_of = protocol.deal_folds(np.bincount(identities), count, rng)[identities]
    return [_fold(rows, identities, score, (fold_of - fold) % count, (count - 1) // 2, rng) for fold in range(count)]


def _fold(
    rows: Floats, identities: Ints, score: Score, distance: Ints, lending: int, rng: np.random.Generator
) -> tuple[dict[str, Any], Pairs]:
    """Score one fold. Return its scores, and its pairs, whose values are whether each was classified correctly.

    `distance` [N] is the number of folds from this fold to that of each embedding's person, modulo the number of folds; 0 in this fold.
    People of the `lending` following folds are also used for impostor pairs.
    """
    own, shown, others = (np.flatnonzero(part) for part in (distance == 0, distance <= lending, distance > lending))
    same = own[protocol.sample_pairs(identities[own], True, MAX_FOLD_PAIRS, rng)]
    different = protocol.sample_across(identities, own, shown, len(same), rng)
    same = same[rng.permutation(len(same))[: len(different)]]  # equal numbers of genuine and impostor pairs
    limit = min(*protocol.count_pairs(identities[others]), MAX_FOLD_PAIRS)
    tuning = (others[protocol.sample_pairs(identities[others], kind, limit, rng)] for kind in (True, False))
    threshold = protocol.best_threshold(*(protocol.similarities(rows, pairs, score) for pairs in tuning))
    right = np.concatenate([
        protocol.similarities(rows, same, score) >= threshold, protocol.similarities(rows, different, score) < threshold
    ])  # fmt: skip
    result = {"accuracy": float(right.mean()), "threshold": threshold, "genuine": len(same), "impostor": len(different)}
    shown_people = identities[np.concatenate([same, different])]
    return result, Pairs(right, np.arange(len(right)) < len(same), shown_people[:, 0], shown_people[:, 1])


def _compared(rows: Floats, identities: Ints, score: Score) -> tuple[Pairs, dict[str, int]]:
    """Return the pairs used for AUC, EER and TAR@FAR, as indices into `rows`, and the total and scored numbers of pairs."""
    rng = np.random.default_rng(_SEED)
    totals = protocol.count_pairs(identities)
    kinds = [protocol.sample_pairs(identities, same, MAX_PAIRS, rng) for same in (True, False)]
    similar = np.concatenate([protocol.similarities(rows, pairs, score) for pairs in kinds])
    both = np.concatenate(kinds)
    counts = {"genuine": totals[0], "impostor": totals[1], "genuine_scored": len(kinds[0]), "impostor_scored": len(kinds[1])}
    return Pairs(similar, np.arange(len(both)) < len(kinds[0]), both[:, 0], both[:, 1]), counts
