"""Attack protocol for face verification: dodging (not being recognised) and impersonation (being taken for another person).

In each pair, the probe image is attacked, and the gallery image stays unchanged. In a genuine pair, the attack lowers the similarity of the
two images (dodging). In an impostor pair, it raises their similarity (impersonation). These are the two goals in Sharif et al. 2016,
"Accessorize to a Crime". Every pair is attacked separately, even if several pairs share an image.

An attacker can't change the system's threshold. Clean and attacked pairs are therefore classified with the same thresholds, chosen on clean
pairs of other people. The accuracy under attack can be far below one half, which means that nearly every attack succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, InputError
from zoo.evaluation.intervals import draws
from zoo.task.metric import MetricResult
from zoo.task.scoring import AttackProtocol
from zoo.tasks.face.embedding.distances import check_answer
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.bootstrap import Pairs, face_replicates
from zoo.tasks.face.verification.pairs import PairedDataset, placed
from zoo.tasks.face.verification.protocol import Floats, Ints, Score
from zoo.tasks.face.verification.roc import roc_scores

_FOLDS = 10  # as in LFW's protocol
_CURVE = ("auc", "eer")
_DECIDED = ("accuracy", "true_accept_rate", "false_accept_rate")


@dataclass(frozen=True)
class AttackPairs:
    """Pairs of a probe image, which is attacked, and a gallery image, which stays unchanged."""

    places: Ints  # [P, 2] indices of the two records in the dataset: probe, gallery image
    same: NDArray[np.bool_]  # [P] whether both images show the same person
    folds: Ints  # [P, 2] cross-validation folds of the two people; for pairs defined by the dataset, the fold of the pair, twice

    def __len__(self) -> int:
        return len(self.same)

    def only(self, kept: NDArray[np.bool_] | Ints) -> AttackPairs:
        """Return the pairs selected by a mask or by indices."""
        return AttackPairs(self.places[kept], self.same[kept], self.folds[kept])

    def thresholds(self, similar: Floats) -> Floats | None:
        """Return a threshold for each pair [P]: the one that classifies the most pairs correctly among the pairs outside its two folds.

        The people in a pair therefore don't influence its threshold. `similar` [P] are the similarities of the clean pairs. Returns None
        if, for any pair, the other folds hold no genuine or no impostor pairs.
        """
        chosen = np.empty(len(self))
        for two in np.unique(np.sort(self.folds, axis=1), axis=0):
            own = (np.sort(self.folds, axis=1) == two).all(1)
            rest = ~np.isin(self.folds, two).any(1)
            genuine, impostor = similar[rest & self.same], similar[rest & ~self.same]
            if not len(genuine) or not len(impostor):
                return None
            chosen[own] = protocol.best_threshold(genuine, impostor)
        return chosen


def choose_pairs(dataset: Dataset, limit: int, seed: int) -> AttackPairs:
    """Draw up to `limit` genuine pairs and the same number of impostor pairs, uniformly.

    They are drawn from the pairs that the dataset defines, whose first image is the probe; otherwise from all pairs of its images, where
    the seed also decides which image is the probe.
    """
    rng = np.random.default_rng(seed)
    if isinstance(dataset, PairedDataset):  # pairs with an image skipped on opening can't be attacked
        places, same, folds = placed(dataset.pairs, dataset.keys)
        pairs = AttackPairs(places, same, np.stack([folds, folds], axis=1))
    else:
        pairs = _drawn(dataset, limit, rng)
    genuine, impostor = np.flatnonzero(pairs.same), np.flatnonzero(~pairs.same)
    count = min(limit, len(genuine), len(impostor))
    if count == 0:
        raise InputError(
            f"attack: dataset {dataset.name!r} has {len(genuine)} genuine and {len(impostor)} impostor pairs; "
            "expected at least one of each, which takes two people, one of them with two images"
        )
    kept = np.concatenate([rng.permutation(kind)[:count] for kind in (genuine, impostor)])
    return pairs.only(np.sort(kept))


def _drawn(dataset: Dataset, limit: int, rng: np.random.Generator) -> AttackPairs:
    for record in dataset.records:
        if record.target is None:
            raise InputError(f"{record.key} has no identity; an attack needs the identity of every image")
    identities = np.unique([str(record.target) for record in dataset.records], return_inverse=True)[1].astype(np.int64)
    kinds = [protocol.sample_pairs(identities, genuine, limit, rng) for genuine in (True, False)]
    places = np.concatenate(kinds)
    turned = rng.random(len(places)) < 0.5  # otherwise the probe would always show the person with the lower index
    places[turned] = places[turned, ::-1]
    fold_of = protocol.deal_folds(np.bincount(identities), _FOLDS, rng)
    return AttackPairs(places, np.arange(len(places)) < len(kinds[0]), fold_of[identities][places])


class PairAttack(AttackProtocol):
    """Attack protocol that lowers the similarity of genuine pairs and raises the similarity of impostor pairs."""

    def __init__(self, dataset: Dataset, pairs: int, seed: int, score: Score) -> None:
        """Choose at most `pairs` genuine pairs and at most `pairs` impostor pairs of a dataset with identities, or of a `PairedDataset`."""
        self._records, self._score = dataset.records, score
        self._pairs, self._missing = choose_pairs(dataset, pairs, seed), 0
        self.pictures = replace(dataset, records=tuple(self._records[place] for place in np.unique(self._pairs.places)))
        self._clean: Mapping[str, Any] = {}

    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the probes to attack: one for each pair whose two images were readable, with the index of the pair as its target."""
        for key, answer in answers.items():
            check_answer(np.asarray(answer), key)
        self._clean = answers
        read = np.array([record.key in answers for record in self._records])
        found = np.asarray(read[self._pairs.places].all(1))
        if not found.any():
            raise DataError(f"attack: none of the {len(found)} pairs has two readable images", [])
        self._pairs, self._missing = self._pairs.only(found), int((~found).sum())
        probes = [self._records[place] for place in self._pairs.places[:, 0]]
        return replace(self.pictures, records=tuple(Record(self._key(n), probe.source, n) for n, probe in enumerate(probes)))

    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the loss [B] that the attacker maximises: the similarity to the gallery image's embedding, negated for genuine pairs."""
        numbers = np.array(targets, np.int64)
        gallery = torch.from_numpy(self._rows(self._pairs.places[numbers, 1])).to(answers)
        similar = F.cosine_similarity(answers, gallery) if self._score == "cosine" else -(answers - gallery).norm(dim=1)
        return torch.where(torch.from_numpy(self._pairs.same[numbers]).to(answers.device), -similar, similar)

    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the clean and the attacked embeddings [D] with the thresholds chosen on clean pairs.

        If there are too few people to choose thresholds, the scores that depend on a threshold are None.
        """
        for key, answer in robust.items():
            check_answer(np.asarray(answer), key)
        probes, gallery = (self._rows(self._pairs.places[:, side]) for side in (0, 1))
        attacked = np.array([robust[self._key(number)] for number in range(len(self._pairs))], np.float32)
        similar = {"clean": self._similar(probes, gallery), "robust": self._similar(attacked, gallery)}
        thresholds = self._pairs.thresholds(similar["clean"])
        return {name: self._result(values, thresholds, replicates) for name, values in similar.items()}

    def _result(self, similar: Floats, thresholds: Floats | None, replicates: int) -> MetricResult:
        known, units, of_pair = self._units()
        scores, drawn = score_pairs(Pairs(similar, self._pairs.same, of_pair[:, 0], of_pair[:, 1]), thresholds, units, replicates)
        genuine = int(self._pairs.same.sum())
        details = {
            "score": self._score,
            "attacked": "the first image of each pair",
            "pairs": {"genuine": genuine, "impostor": len(self._pairs) - genuine, "missing": self._missing},
            "threshold": None if thresholds is None else float(thresholds.mean()),
            "bootstrap": {"over": "identities" if known else "pairs", "replicates": replicates},
        }
        if thresholds is None:
            details["note"] = "there are too few people or folds to choose thresholds on pairs of other people"
        return MetricResult(scores, details=details, replicates=drawn)

    def _units(self) -> tuple[bool, int, Ints]:
        """Return whether identities are known, the number of bootstrap units (people, or pairs), and the units of each pair [P, 2]."""
        targets = [self._records[place].target for place in self._pairs.places.reshape(-1)]
        if any(target is None for target in targets):
            return False, len(self._pairs), np.arange(len(self._pairs))[:, None].repeat(2, 1)
        people, numbers = np.unique([str(target) for target in targets], return_inverse=True)
        return True, len(people), numbers.reshape(-1, 2)

    def _rows(self, places: Ints) -> NDArray[np.float32]:
        """Return the clean embeddings [P, D] of the records at these indices."""
        return np.array([self._clean[self._records[place].key] for place in places], np.float32)

    def _similar(self, probes: NDArray[np.float32], gallery: NDArray[np.float32]) -> Floats:
        rows = protocol.comparable(np.concatenate([probes, gallery]), self._score)
        places = np.arange(len(probes))
        return protocol.similarities(rows, np.stack([places, places + len(probes)], axis=1), self._score)

    def _key(self, number: int) -> str:
        probe, gallery = self._pairs.places[number]
        return f"{self._records[probe].key} → {self._records[gallery].key}"


def score_pairs(pairs: Pairs, thresholds: Floats | None, units: int, replicates: int) -> tuple[dict[str, float | None], dict[str, Floats]]:
    """Return the scores of pairs by name, None if undefined; and their values in all replicates [R] by name, NaN if undefined there.

    They are accuracy, AUC, EER, and the true (false) accept rate: the fraction of genuine (impostor) pairs accepted as the same person.
    `thresholds` [P] is the lowest similarity at which each pair is accepted; without it, the scores that depend on a threshold are None.
    `units` is the number of bootstrap units: people, or pairs if identities are unknown.
    """
    similar = np.asarray(pairs.values, np.float64)
    curve = roc_scores(similar[pairs.genuine], similar[~pairs.genuine])
    scores: dict[str, float | None] = {"accuracy": None, **{name: curve[name] for name in _CURVE}}
    drawn = face_replicates(units, replicates, pairs, None, None, None)
    found = {name: drawn[name] for name in _CURVE if name in drawn}
    if thresholds is None:
        return {**scores, **dict.fromkeys(_DECIDED)}, found
    accepted = similar >= thresholds
    decided = replace(pairs, values=accepted == pairs.genuine)
    scores |= dict(zip(_DECIDED, _decided(decided, np.ones(len(accepted))), strict=True))
    rows = [_decided(decided, decided.weights(counts)) for chunk in draws(units, replicates) for counts in chunk]
    return scores, found | (dict(zip(_DECIDED, np.array(rows).T, strict=True)) if rows else {})


def _decided(decided: Pairs, weights: Floats) -> tuple[float, float, float]:
    """Return accuracy, true accept rate and false accept rate. In the accuracy, genuine and impostor pairs have equal weight."""
    shares = []
    for kind in (decided.genuine, ~decided.genuine):
        total = float(weights[kind].sum())
        right = (np.asarray(decided.values[kind], np.float64) * weights[kind]).sum()
        shares.append(float(right / total) if total > 0 else float("nan"))  # NaN if a replicate has no pair of this kind
    genuine, impostor = shares
    return (genuine + impostor) / 2, genuine, 1 - impostor
