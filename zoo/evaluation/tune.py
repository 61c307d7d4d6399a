"""Choice of a model's operating point on validation data, which is stored with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import OnError
from zoo.data.fingerprint import data_fingerprint
from zoo.errors import DataError, Fault, InputError
from zoo.evaluation.ensemble import ModelGroup, answered
from zoo.evaluation.evaluate import aligning, collected, placed
from zoo.evaluation.heads import per_head
from zoo.evaluation.intervals import REPLICATES
from zoo.evaluation.operating import ClassPoint, Target, check_reached, choose
from zoo.images.headers import MAX_PIXELS
from zoo.models.archive import load
from zoo.models.classes import match_classes
from zoo.models.config import check_changeable, store_metadata
from zoo.models.model import Model
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.task.operating import OPERATING_POINT


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds chosen by `zoo.tune`.

    Attributes:
        target: the target that the thresholds were chosen for.
        classes: operating point of each class, or of each use of a face model, by name.
        n: number of images that the thresholds were chosen on.
        data: the dataset string.
        fingerprint: fingerprint of the dataset.
        skipped: errors of skipped samples and annotations.
        metadata: entries that were stored in the model's metadata.
    """

    target: str
    classes: Mapping[str, ClassPoint]
    n: int
    data: str
    fingerprint: str
    skipped: tuple[Fault, ...]
    metadata: Mapping[str, Any]

    @property
    def kept(self) -> dict[str, str]:
        """Why the default threshold was kept, by the name of each class for which it was."""
        return {name: point.kept for name, point in self.classes.items() if point.kept}

    def to_dict(self) -> dict[str, Any]:
        """Return the operating point in the format of `zoo tune --json`."""
        return {
            "target": self.target,
            "classes": {name: point.to_dict() for name, point in self.classes.items()},
            "kept": self.kept,
            "n": self.n,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "skipped": [fault.to_dict() for fault in self.skipped],
        }


def tune(
    model: Model | str | Path,
    data: object,
    target: str = "f1",
    *,
    positive: str | None = None,
    align: object = None,
    batch_size: int | None = None,
    workers: int | None = None,
    precision: Precision = "auto",
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    replicates: int = REPLICATES,
    progress: Progress | None = None,
) -> Any:
    """Choose the operating point of a model, the thresholds at which it decides, on validation data, and store it with the model.

    Detectors have a threshold per class, and a detection is right if it matches an object at an IoU of at least 0.5. Multi-label
    classifiers have a threshold per class, classifiers with two classes one threshold, and face models one for verification and one for
    identification. `zoo.predict`, exports and the scores that depend on decisions use them; AP and AUC don't.

    Use data that the model wasn't trained on. Precision and recall are those on this data.

    Args:
        model: a model, whose metadata is updated, or the folder of a saved or exported model, in which `model.json` is updated.
        data: validation data, as for `zoo.evaluate`. For a model with several heads, a mapping from head name to data; other heads keep
            their thresholds.
        target: "f1" for the highest F1, "precision=0.95" for the greatest recall with at least this precision, "recall=0.9" for the highest
            precision with at least this recall, or "cost=fp:1,fn:5" for the lowest cost of false positives and false negatives.
        positive: class whose threshold is chosen, for classifiers with two classes; by default the second class.
        align: detector with which the images of face models are aligned, as in `zoo.evaluate`.
        batch_size: number of images per batch. None selects it from the model's input size.
        workers: number of loader processes. None selects it from the number of CPU cores and the size of the dataset.
        precision: precision of matrix multiplications. "auto" means fp32.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip samples that can't be read.
        exact: whether to decode every image at full size.
        max_pixels: maximum width × height of an image, in pixels.
        replicates: number of bootstrap replicates over images (over people for faces) for the intervals; 0 for no intervals.
        progress: display of progress bars and messages; None for no display.

    Returns:
        An `OperatingPoint`. If `data` is a mapping, a dict from head name to the operating point of each head with data.

    Raises:
        InputError: the target can't be parsed or isn't reached by any threshold of a class, the model has no thresholds or is an encrypted
            file, or the data is invalid. Nothing is stored.
        DataError: all samples were skipped.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["0", "1"])
        >>> point = zoo.tune(model, "demo:digits?split=test&classes=0,1&limit=20", "recall=0.9", replicates=0)
        >>> point.classes["1"].recall >= 0.9, model.metadata["thresholds"] == {"1": point.classes["1"].threshold}
        (True, True)
    """
    Target.parse(target)  # report an invalid target before the model is loaded
    if not isinstance(model, Model):
        check_changeable(model)
    built = model if isinstance(model, Model) else load(model)
    found: Any = _tuned(
        built, data, target=target, positive=positive, align=align, batch_size=batch_size, workers=workers, precision=precision,
        device=device, on_error=on_error, exact=exact, max_pixels=max_pixels, replicates=replicates, progress=progress,
    )  # fmt: skip
    if isinstance(found, OperatingPoint):
        built.metadata.update(found.metadata)
    else:
        for name, own in found.items():
            built.head_metadata(name).update(own.metadata)
    if not isinstance(model, Model):
        store_metadata(model, built.metadata)
    return found


@per_head
def _tuned(
    model: Model,
    data: object,
    *,
    target: str,
    positive: str | None,
    align: object,
    batch_size: int | None,
    workers: int | None,
    precision: Precision,
    device: str,
    on_error: OnError,
    exact: bool,
    max_pixels: int,
    replicates: int,
    progress: Progress | None,
) -> OperatingPoint:
    """Return the operating point of a model with one head."""
    task, group, progress = model.definition, ModelGroup.of(model), progress or Progress(enabled=False)
    options = task.parse_scoring({}, group.metadata)
    opened = task.open(data, on_error, progress.say)
    dataset, classes = match_classes(task, opened, model.classes)
    metric = task.scoring.metric(dataset, classes, **options)
    task.decisions(metric, classes, model.config.options, positive)  # a model without thresholds is an error before it runs
    reading = placed(group, batch_size, workers, precision, device, on_error, exact, max_pixels, progress)
    aligned = None if align is None else task.align(dataset, group.models, aligning(align, reading))
    batches = answered(model, dataset if aligned is None else aligned.dataset, reading)
    keys, skipped, _ = collected(batches, metric, False, reading.processes)
    skipped += () if aligned is None else aligned.left_out
    if not keys:
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} images can be read:", skipped)
    decisions = task.decisions(metric, classes, model.config.options, positive)
    chosen = Target.parse(target)
    points = check_reached({name: choose(each, chosen, replicates) for name, each in decisions.items()}, target)
    if all(point.kept for point in points.values()):
        reasons = "; ".join(f"{name}: {point.kept}" for name, point in points.items())
        raise InputError(f"data {dataset.name!r}: no threshold can be chosen ({reasons}); nothing was stored. Use other validation data")
    thresholds = {name: point.threshold for name, point in points.items() if point.threshold is not None}
    fingerprint = data_fingerprint(opened)
    about = {
        "target": target,
        "data": opened.name,
        "fingerprint": fingerprint,
        "n": len(keys),
        "classes": {name: point.to_dict() for name, point in points.items() if not point.kept},
        "kept": [name for name, point in points.items() if point.kept],
    }
    metadata = {**task.scoring.operating_metadata(thresholds, classes), OPERATING_POINT: about}
    return OperatingPoint(target, points, len(keys), opened.name, fingerprint, (*opened.skipped, *skipped), metadata)
