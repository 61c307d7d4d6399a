"""Scores of face embeddings: verification over pairs, and identification from one enrolled picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.registry import natural_key
from zoo.task import MetricResult
from zoo.tasks.face import verification
from zoo.tasks.face.verification import Floats, Ints, Roc

FOLDS = 10  # as LFW has
DEALINGS = 10  # of the people into folds
LEAST_FOLDS = 4  # with fewer, nobody is left whom a threshold could be chosen on
MAX_PAIRS = 2_000_000  # of each kind behind the ROC; more are sampled
MAX_FOLD_PAIRS = 3_000  # of each kind in a fold, ten times LFW's
_SEED = 0  # of folds and sampled pairs: the same pictures are always scored on the same pairs
_FARS = {"tar@1e-2": 1e-2, "tar@1e-3": 1e-3}  # false accept rates


class VerificationMetric:
    """Collects embeddings; the protocol runs over all of them at the end.

    Accuracy is that of identity-disjoint folds, each decided with the threshold that is best on the others, over all genuine
    pairs of a fold and as many impostor pairs; AUC, EER and TAR@FAR are over all pairs of the whole set. Embeddings are
    compared by cosine, so their lengths have no influence. Nothing depends on the order of the pictures or on batches.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        """Start empty.

        Args:
            classes: names of the identities of the data, by index; empty where targets are names themselves.
        """
        self._classes = classes
        self._keys: list[str] = []
        self._names: list[str] = []
        self._embeddings: list[NDArray[np.float32]] = []

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Take a batch of embeddings [D] with the identities they show.

        Raises:
            InputError: a picture without an identity, or an embedding that is not finite.
        """
        for embedding, target, key in zip(answers, targets, keys, strict=True):
            if target is None:
                raise InputError(f"{key}: has no identity as its target; verification needs to know whose picture each is")
            if not np.isfinite(embedding).all():
                raise InputError(f"{key}: its embedding is not finite; the model's weights are damaged, or --precision is too low for them")
            self._keys.append(key)
            self._names.append(self._classes[target] if self._classes else str(target))
            self._embeddings.append(np.asarray(embedding))

    def state(self) -> Any:
        """Return everything collected."""
        return self._keys, self._names, self._embeddings

    def merge(self, states: Sequence[Any]) -> None:
        """Take over what several processes collected."""
        self._keys = [key for keys, _, _ in states for key in keys]
        self._names = [name for _, names, _ in states for name in names]
        self._embeddings = [embedding for _, _, embeddings in states for embedding in embeddings]

    def compute(self, replicates: int = 0) -> MetricResult:
        """Run the protocol; scores that too few pictures or people support are None."""
        units, identities, people = self._ordered()
        accuracy, folds = _accuracy(units, identities)
        curve, pairs = _curve(units, identities)
        scores = {**accuracy, **curve, "rank1": verification.rank1(units, identities)}
        return MetricResult(scores, details={"score": "cosine", "identities": people, "pictures": len(identities), **folds, "pairs": pairs})

    def _ordered(self) -> tuple[Floats, Ints, int]:
        """Return unit rows and identity numbers in the natural order of the keys, and the number of people."""
        order = sorted(range(len(self._keys)), key=lambda i: (natural_key(self._keys[i]), self._keys[i]))
        people = sorted(set(self._names), key=lambda name: (natural_key(name), name))
        number = {name: index for index, name in enumerate(people)}
        rows = np.stack([self._embeddings[i] for i in order]) if order else np.empty((0, 1), np.float32)
        return verification.unit_length(rows), np.array([number[self._names[i]] for i in order], np.int64), len(people)


def _accuracy(units: Floats, identities: Ints) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return accuracy and its standard error over the folds, and what is known of each fold.

    A fold's pairs show its people: alone (genuine), and beside each other or the people of the next four folds (impostor), so that a
    fold of two people does not stand or fall with one pair of faces. The threshold comes from the pairs among all who are not
    in these folds: nobody in a pair that is scored has been seen when its threshold was chosen.

    With few people the score hangs on who is dealt into which fold, so the people are dealt several times. The accuracy is the mean
    over the dealings. So is its standard error: the same people dealt again are no new evidence, and do not make it smaller.
    """
    dealings = [_dealing(units, identities, np.random.default_rng(_SEED + number)) for number in range(DEALINGS)]
    count = len(dealings[0])
    if count < LEAST_FOLDS:
        reason = "accuracy needs four people with two pictures each"
        return {"accuracy": None, "accuracy_std": None}, {"folds": count, "threshold": None, "note": reason}
    accuracies = np.array([[fold["accuracy"] for fold in folds] for folds in dealings])  # [dealings, folds]
    details: dict[str, Any] = {
        "folds": count,
        "dealings": DEALINGS,
        "accuracy_per_dealing": accuracies.mean(1).tolist(),
        "threshold": float(np.mean([fold["threshold"] for folds in dealings for fold in folds])),
        "per_fold": [fold for folds in dealings for fold in folds],
    }
    if count < FOLDS:
        details["note"] = f"{count} folds instead of {FOLDS}: each needs a person with two pictures"
    errors = accuracies.std(1, ddof=1) / np.sqrt(count)
    return {"accuracy": float(accuracies.mean()), "accuracy_std": float(errors.mean())}, details


def _dealing(units: Floats, identities: Ints, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Deal the people into folds once, and score each fold; too few folds are not scored."""
    fold_of = verification.deal_folds(np.bincount(identities), FOLDS, rng)
    count = int(fold_of.max(initial=-1)) + 1
    if count < LEAST_FOLDS:
        return [{}] * count
    return [_fold(units, identities, (fold_of[identities] - fold) % count, (count - 1) // 2, rng) for fold in range(count)]


def _fold(units: Floats, identities: Ints, distance: Ints, beside: int, rng: np.random.Generator) -> dict[str, Any]:
    """Score one fold.

    Args:
        units: [N, D] of unit length.
        identities: [N].
        distance: [N], how many folds after this one each picture's person is; 0 for its own people.
        beside: how many folds after it lend their people to its impostor pairs.
        rng: decides which pairs, where there are many.
    """
    own, shown, others = (np.flatnonzero(part) for part in (distance == 0, distance <= beside, distance > beside))
    same = own[verification.sample_pairs(identities[own], True, MAX_FOLD_PAIRS, rng)]
    different = verification.sample_across(identities, own, shown, len(same), rng)
    same = same[rng.permutation(len(same))[: len(different)]]  # as many of either kind
    limit = min(*verification.count_pairs(identities[others]), MAX_FOLD_PAIRS)
    tuning = [
        verification.similarities(units, others[verification.sample_pairs(identities[others], kind, limit, rng)]) for kind in (True, False)
    ]
    threshold = verification.best_threshold(*tuning)
    right = (verification.similarities(units, same) >= threshold).sum() + (verification.similarities(units, different) < threshold).sum()
    pairs = len(same) + len(different)
    return {"accuracy": float(right / pairs), "threshold": threshold, "genuine": len(same), "impostor": len(different)}


def _curve(units: Floats, identities: Ints) -> tuple[dict[str, float | None], dict[str, int]]:
    """Return AUC, EER and TAR@FAR, and how many pairs there are and were scored."""
    rng = np.random.default_rng(_SEED)
    totals = verification.count_pairs(identities)
    genuine, impostor = (
        verification.similarities(units, verification.sample_pairs(identities, same, MAX_PAIRS, rng)) for same in (True, False)
    )
    counts = {"genuine": totals[0], "impostor": totals[1], "genuine_scored": len(genuine), "impostor_scored": len(impostor)}
    return roc_scores(genuine, impostor), counts


def roc_scores(genuine: Floats, impostor: Floats) -> dict[str, float | None]:
    """Return AUC, EER and TAR@FAR of the scores of pairs; None without pairs of both kinds."""
    if not len(genuine) or not len(impostor):
        return {"auc": None, "eer": None, **dict.fromkeys(_FARS)}
    roc = Roc.of(genuine, impostor)
    return {"auc": roc.auc, "eer": roc.eer, **{name: roc.tar_at(far) for name, far in _FARS.items()}}
