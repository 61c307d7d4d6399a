"""Combination of the predictions of an ensemble's models, optionally with weights fitted on validation data."""

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
from zoo.data.loader import Reading
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation.ensemble import Answered, Ensemble
from zoo.images.decoding import Decoding
from zoo.models.classes import match_classes


@dataclass(frozen=True)
class Voting:
    """An ensemble with a voting method and one weight per model; the weights sum to 1."""

    ensemble: Ensemble
    vote: str
    weights: Sequence[float]
    val: dict[str, Any] = field(default_factory=dict)  # description of the data on which the weights were fitted; empty otherwise

    @classmethod
    def of(cls, ensemble: Ensemble, vote: str, val: object, data: Dataset, reading: Reading) -> Voting:
        """Create a voting ensemble. For the vote "weighted", weights are fitted (see `fitted_weights`); otherwise they are equal."""
        count = len(ensemble.members)
        if vote == "weighted" and count > 1:
            return cls(ensemble, vote, *fitted_weights(ensemble, val, data, reading))
        return cls(ensemble, vote, [1 / count] * count)

    def answer(self, answers: Sequence[Any]) -> Any:
        """Combine the predictions of all models for one image. The prediction of a single model is returned unchanged."""
        if len(answers) == 1:
            return answers[0]
        return self.ensemble.combination.models(answers, self.vote, self.weights)

    def answered(self, dataset: Dataset, reading: Reading) -> Iterator[Answered]:
        """Run the ensemble on this process's subset of a dataset, and yield batches with one combined prediction per image."""
        for batch in self.ensemble.answer(dataset, reading):
            yield replace(batch, answers=[self.answer(several) for several in batch.answers])

    def details(self) -> dict[str, Any]:
        """Return a JSON-serialisable description of the models, views, vote and weights for the evaluation result."""
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
    """Raise an `InputError` unless validation data is passed for the vote "weighted", and only for it."""
    if vote == "weighted" and val is None:
        raise InputError("the vote 'weighted' needs validation data to fit weights: pass --val (val=) with data other than the scored data")
    if vote != "weighted" and val is not None:
        raise InputError(f"validation data (--val) is only used with the vote 'weighted', but the vote is {vote!r}; omit --val")


def fitted_weights(ensemble: Ensemble, val: object, data: Dataset, reading: Reading) -> tuple[list[float], dict[str, Any]]:
    """Fit one weight per model on validation data, which should share no images with the data to score.

    Returns:
        The weights, and a JSON-serialisable description for the evaluation result. The description contains the name and fingerprint of
        the validation data, the number of images, details of the fit, the number of images that are also in `data`, and a warning if
        this number isn't 0.

    Raises:
        InputError: the validation data is invalid, or its classes differ from those of the models.
        DataError: none of the validation images can be read.
    """
    opened = ensemble.group.task.open(val, reading.on_error, reading.progress.say)
    dataset, _ = match_classes(ensemble.group.task, opened, ensemble.classes)
    found: dict[str, list[Any]] = {}
    for batch in ensemble.answer(dataset, reading, "fitting weights"):
        found.update(zip(batch.keys, batch.answers, strict=True))
    if reading.processes > 1:
        found = {key: answers for part in gather_object([found]) for key, answers in part.items()}
    if not found:
        raise DataError(f"validation data {dataset.name!r}: none of its {len(dataset)} images can be read")
    records = [record for record in dataset.records if record.key in found]
    by_model = [[found[record.key][number] for record in records] for number in range(len(ensemble.members))]
    weights, fit = ensemble.combination.fit(by_model, [record.target for record in records])
    facts = {"data": opened.name, "fingerprint": data_fingerprint(opened), "n": len(records), **fit, **_overlap(opened, data)}
    if "warning" in facts:
        reading.progress.say(f"warning: {facts['warning']}")
    return weights, facts


def _overlap(val: Dataset, data: Dataset) -> dict[str, Any]:
    """Return the number of images that are in both datasets, and a warning if it isn't 0.

    Images are compared by content, because different images in two splits may have the same key.
    """
    first, second = ({_content(record) for record in dataset.records} - {None} for dataset in (val, data))
    both = len(first & second)
    if not both:
        return {"also_in_data": 0}
    return {
        "also_in_data": both,
        "warning": f"{both} images of the validation data {val.name!r} are also in the scored data: the scores are too optimistic",
    }


def _content(record: Record) -> str | None:
    """Return a fingerprint of the image file, or of the pixels of an image without a file; None if the image can't be read."""
    try:
        if isinstance(record.source, Path):
            return file_fingerprint(record.source)
        return hashlib.blake2b(np.ascontiguousarray(record.picture(Decoding())[0]).tobytes()).hexdigest()
    except (OSError, ImageError):
        return None
