"""Receiver operating characteristic (ROC) of verification, and the scores derived from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.verification.protocol import Floats, Ints

FALSE_ACCEPT_RATES = {f"tar@1e-{digits}": 10.0**-digits for digits in range(2, 7)}
FALSE_ACCEPTS = 10  # minimum number of false accepts that a rate must be based on


@dataclass(frozen=True)
class OrderedPairs:
    """Pairs in order of decreasing similarity."""

    order: Ints  # [P] index of each sorted pair in the original scores
    genuine: NDArray[np.bool_]  # [P] whether each pair shows the same person, in sorted order
    last_of_equal: Ints  # [G] last index of each group of equal scores; the pairs of a group are accepted together

    @classmethod
    def of(cls, scores: Floats, genuine: NDArray[np.bool_]) -> OrderedPairs:
        """Sort pairs by their scores [P]."""
        order = np.argsort(-scores, kind="stable")
        last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        return cls(order, genuine[order], last_of_equal)


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic with one point per distinct score, from rejecting all pairs to accepting all."""

    far: Floats  # false accept rates, ascending from 0 to 1
    tar: Floats  # true accept rates, ascending from 0 to 1
    impostors: int  # number of impostor pairs that the rates are based on

    @classmethod
    def of(cls, genuine: Floats, impostor: Floats) -> Roc:
        """Build the curve from the scores of at least one genuine and one impostor pair. Equal scores are accepted together."""
        pairs = OrderedPairs.of(np.concatenate([genuine, impostor]), np.arange(len(genuine) + len(impostor)) < len(genuine))
        roc = cls.weighted(pairs, np.ones(len(pairs.order)))
        assert roc is not None
        return roc

    @classmethod
    def weighted(cls, ordered: OrderedPairs, weights: Floats) -> Roc | None:
        """Build the curve from pairs with weights [P]; None if all genuine pairs, or all impostor pairs, have weight 0."""
        genuine, all_pairs = np.cumsum(weights * ordered.genuine)[ordered.last_of_equal], np.cumsum(weights)[ordered.last_of_equal]
        impostor = all_pairs - genuine
        if not genuine[-1] > 0 or not impostor[-1] > 0:
            return None
        impostors = len(ordered.genuine) - int(ordered.genuine.sum())
        return cls(np.append(0.0, impostor / impostor[-1]), np.append(0.0, genuine / genuine[-1]), impostors)

    @property
    def auc(self) -> float:
        """Area under the curve: the probability that a genuine pair scores higher than an impostor pair; ties count one half."""
        return float(np.trapezoid(self.tar, self.far))

    @property
    def eer(self) -> float:
        """Equal error rate: the rate at which the false accept rate equals the false reject rate, interpolated linearly between points."""
        excess = self.far - (1 - self.tar)  # rises from −1 to 1
        after = int(np.argmax(excess >= 0))
        part = -excess[after - 1] / (excess[after] - excess[after - 1])
        return float(self.far[after - 1] + part * (self.far[after] - self.far[after - 1]))

    def tar_at(self, far: float) -> float | None:
        """Return the highest true accept rate at which the false accept rate is at most `far`.

        Returns None with fewer than 10 / far impostor pairs, because the rate would be based on fewer than ten false accepts.
        """
        if self.impostors < FALSE_ACCEPTS / far:
            return None
        return float(self.tar[np.searchsorted(self.far, far, side="right") - 1])


def roc_scores(genuine: Floats, impostor: Floats) -> dict[str, float | None]:
    """Return AUC, EER and TAR@FAR from the scores of pairs; all None if there are no genuine or no impostor pairs."""
    return read_off(Roc.of(genuine, impostor) if len(genuine) and len(impostor) else None)


def read_off(roc: Roc | None) -> dict[str, float | None]:
    """Return AUC, EER and TAR@FAR of a curve; all None if `roc` is None."""
    if roc is None:
        return {"auc": None, "eer": None, **dict.fromkeys(FALSE_ACCEPT_RATES)}
    return {"auc": roc.auc, "eer": roc.eer, **{name: roc.tar_at(far) for name, far in FALSE_ACCEPT_RATES.items()}}


def unsupported(impostors: int) -> dict[str, str]:
    """Return, by name, the reason why a TAR@FAR score can't be measured with this number of impostor pairs."""
    return {
        name: f"not supported: needs {round(FALSE_ACCEPTS / far)} impostor pairs, there are {impostors}"
        for name, far in FALSE_ACCEPT_RATES.items()
        if impostors < FALSE_ACCEPTS / far
    }
