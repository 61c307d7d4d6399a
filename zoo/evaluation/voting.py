"""The vote of an ensemble: one answer out of those of its models, perhaps with weights fitted on data of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object

from zoo.data.dataset import Dataset, Record
from zoo.data.fingerprint import data_fingerprint, file_fingerprint
from zoo.data.reading import Reading
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation.answers import Answered
from zoo.evaluation.ensemble import Ensemble
from zoo.images.decoding import Decoding
from zoo.models.classes import match_classes


@dataclass(frozen=True)
class Voting:
    """How the answers of an ensemble's models become one.

    Attributes:
        ensemble: the models.
        vote: one of the task's votes.
        weights: one per model, 1 together.
        val: what is known of the data that weights were fitted on, JSON-ready; empty where none were.
    """

    ensemble: Ensemble
    vote: str
    weights: Sequence[float]
    val: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, ensemble: Ensemble, vote: str, val: object, data: Dataset, reading: Reading) -> Voting:
        """Settle the weights: fitted for a weighted vote, else equal.

        Args:
            ensemble: the models.
            vote: one of the task's votes.
            val: the data to fit on; None unless the vote is weighted.
            data: what will be scored.
            reading: how pictures are read.

        Raises:
            InputError: as `fitted_weights`.
        """
        count = len(ensemble.members)
        if vote == "weighted" and count > 1:
            return cls(ensemble, vote, *fitted_weights(ensemble, val, data, reading))
        return cls(ensemble, vote, [1 / count] * count)

    def answer(self, answers: Sequence[Any]) -> Any:
        """Return one answer out of one per model; that of a single model is left as it is."""
        if len(answers) == 1:
            return answers[0]
        return self.ensemble.combination.models(answers, self.vote, self.weights)

    def answered(self, dataset: Dataset, reading: Reading) -> Iterator[Answered]:
        """Yield this process's share of the data, batch by batch, with one answer per image.

        Raises:
            ImageError: an image can't be read and `on_error` is "raise".
        """
        for batch in self.ensemble.answer(dataset, reading):
            yield replace(batch, answers=[self.answer(several) for several in batch.answers])

    def details(self) -> dict[str, Any]:
        """Return what a result says about how its answers came about, JSON-ready: nothing for one model with one view."""
        found: dict[str, Any] = {"models": len(self.weights), "tta": list(self.ensemble.tta)}
        if len(self.weights) > 1:
            found |= {"vote": self.vote, "weights": self.ensemble.group.by_name(self.weights)}
        if self.val:
            found["val"] = self.val
        views = [
            [{"size_hw": list(view.preprocess.size_hw), "mirror": view.mirror} for view in member.views] for member in self.ensemble.members
        ]
        return {"ensemble": {**found, "views": self.ensemble.group.by_name(views)}, **self.ensemble.combination.details(self.ensemble.tta)}


def check_val(vote: str, val: object) -> None:
    """Refuse a weighted vote without data to fit on, and such data for anything else.

    Raises:
        InputError: one without the other.
    """
    if vote == "weighted" and val is None:
        raise InputError("the vote 'weighted' fits its weights on validation data: give it with --val (val=), not the data that is scored")
    if vote != "weighted" and val is not None:
        raise InputError(f"validation data is given, which only the vote 'weighted' is fitted on; the vote is {vote!r}")


def fitted_weights(ensemble: Ensemble, val: object, data: Dataset, reading: Reading) -> tuple[list[float], dict[str, Any]]:
    """Fit one weight per model on validation data.

    Args:
        ensemble: of several models, of a task that fits weights.
        val: the data to fit on, as for `zoo.evaluate`.
        data: what will be scored, which the other must not share pictures with.
        reading: how pictures are read.

    Returns:
        The weights, and what a result says about them, JSON-ready: the data's name and fingerprint, the number of pictures, what the
        task's fit found, how many pictures are in `data` too, and a warning where there are any.

    Raises:
        InputError: the data is wrong, or its classes aren't the models'.
        DataError: none of its pictures can be read.
        ImageError: one can't be read and it isn't to be skipped.
    """
    opened = ensemble.group.task.open(val, reading.on_error, reading.progress.say)
    dataset, _ = match_classes(ensemble.group.task, opened, ensemble.classes)
    found: dict[str, list[Any]] = {}
    for batch in ensemble.answer(dataset, reading, "fitting weights"):
        found.update(zip(batch.keys, batch.answers, strict=True))
    if reading.processes > 1:
        found = {key: answers for part in gather_object([found]) for key, answers in part.items()}
    if not found:
        raise DataError(f"validation data {dataset.name!r}: none of its {len(dataset)} pictures can be read")
    records = [record for record in dataset.records if record.key in found]
    by_model = [[found[record.key][number] for record in records] for number in range(len(ensemble.members))]
    weights, fit = ensemble.combination.fit(by_model, [record.target for record in records])
    facts = {"data": opened.name, "fingerprint": data_fingerprint(opened), "n": len(records), **fit, **_overlap(opened, data)}
    if "warning" in facts:
        reading.progress.say(f"warning: {facts['warning']}")
    return weights, facts


def _overlap(val: Dataset, data: Dataset) -> dict[str, Any]:
    """Tell how many pictures are in both, by their content: keys of two splits may agree while the pictures differ."""
    both = len(_contents(val) & _contents(data))
    if not both:
        return {"also_in_data": 0}
    return {
        "also_in_data": both,
        "warning": f"{both} pictures of the validation data {val.name!r} are among those that are scored: the score is too good",
    }


def _contents(dataset: Dataset) -> set[str]:
    return {content for record in dataset.records if (content := _content(record)) is not None}


def _content(record: Record) -> str | None:
    """Return a fingerprint of a picture's file, or of its pixels where it has none; None where it can't be read."""
    try:
        if isinstance(record.source, Path):
            return file_fingerprint(record.source)
        return hashlib.blake2b(np.ascontiguousarray(record.picture(Decoding())[0]).tobytes()).hexdigest()
    except (OSError, ImageError):
        return None
