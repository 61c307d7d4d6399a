"""Training run of a k-nearest-neighbours head. It stores features in one pass, without optimisation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from zoo.errors import Fault, InputError
from zoo.models.freezing import freeze
from zoo.system.disk import tensor_bytes
from zoo.system.hardware import pick_inference_precision, place
from zoo.task.head import RememberingHead
from zoo.task.metric import Scores
from zoo.training.batches import RunData
from zoo.training.checkpoints import RunFolder
from zoo.training.history import LossRecord
from zoo.training.tracking import Tracking


@dataclass
class Memorizing:
    """Training run that stores features instead of optimising a model, with the same interface as `TrainingLoop`."""

    data: RunData
    track: tuple[str, ...] = ()
    history: list[dict[str, Any]] = field(default_factory=list)  # the single entry of metrics.jsonl
    skipped: dict[str, Fault] = field(default_factory=dict)
    scores: dict[str, Scores] | None = None  # by head name
    seconds: float = 0.0
    not_finite: int = 0  # no loss is computed

    def __post_init__(self) -> None:
        """Freeze the model and move it to its device. Raise an `InputError` if the backbone isn't frozen for the whole run."""
        model, recipe = self.data.model, self.data.recipe
        if model.is_joint:
            names = [name for name, head in model.heads.items() if isinstance(head, RememberingHead)]
            raise InputError(
                f"the head {', '.join(names)} stores features instead of being trained, which isn't possible together with other heads; "
                "train it as a separate model, or build it with another classifier"
            )
        self.precision = pick_inference_precision("auto")  # inference later uses the same precision
        if recipe.freeze is not None:
            freeze(model, recipe.freeze)
        if not self.data.learns_from_features:
            raise InputError(
                f"freeze is {model.config.freeze!r}, but this head stores features and needs a frozen backbone: "
                "pass --freeze trunk, without --unfreeze-every or --no-feature-cache"
            )
        place(model, self.data.processes.device)

    def checkpoint_bytes(self) -> int:
        """Return the approximate size of the model in bytes. This kind of run writes no checkpoints."""
        return tensor_bytes(self.data.model.state_dict())

    def run(self, folder: RunFolder) -> None:
        """Store the features of all readable images, and evaluate the model on the validation data, if any."""
        start, data = time.perf_counter(), self.data
        data.reset_metadata(data.model)
        head = data.model.head
        assert isinstance(head, RememberingHead)
        (trained,) = data.heads
        pooled = data.features(trained.dataset, self.precision)
        faults = pooled.features.faults
        for fault in faults.values():
            data.reading.progress.say(f"skipped: {fault}")
            self.skipped[fault.key] = fault
        good = [place for place in range(len(trained.dataset)) if place not in faults]
        targets = [trained.dataset.records[place].target for place in good]
        head.remember(pooled.features.rows[torch.tensor(good)], trained.task.data.collate_targets(targets))
        entry = {"epoch": 1, "step": 0, "lr": 0.0, **LossRecord().entry(0), "skipped": len(self.skipped)}
        if data.validated:
            self.scores = data.score(data.model)
            entry["val"] = data.entries(self.scores)
        self.history = [entry]
        folder.write_metrics(self.history)
        tracking = Tracking(data.processes.accelerator, self.track, folder.path, data.recipe, 0)
        tracking.epoch(entry)
        tracking.end()
        self.seconds = time.perf_counter() - start
