"""The run of a head that learns by heart: one pass over the data, and no step."""

from __future__ import annotations

import time

import torch

from zoo.errors import InputError
from zoo.models.freezing import freeze
from zoo.system.disk import tensor_bytes
from zoo.system.hardware import pick_inference_precision, place
from zoo.task.pooling import RememberingHead
from zoo.training.features.trunk import learns_from_features
from zoo.training.folder import RunFolder
from zoo.training.history import LossRecord
from zoo.training.loop import TrainingLoop
from zoo.training.tracking import Tracking


class Remembering(TrainingLoop):
    """A run of one epoch, whose data, features and scores are those of any other."""

    def __post_init__(self) -> None:
        """Set up the model.

        Raises:
            InputError: the trunk isn't to stay as it is.
        """
        self.device = self.processes.device
        self.precision = pick_inference_precision("auto")  # what is looked up later is computed so too
        if self.recipe.freeze is not None:
            freeze(self.model, self.recipe.freeze)
        if not learns_from_features(self.model, self.recipe):
            raise InputError(
                f"freeze is {self.model.config.freeze!r}, but this head remembers features, which go with the trunk as it is: "
                "give --freeze trunk, without --unfreeze-every and --no-feature-cache"
            )
        place(self.model, self.device)
        self._first_freeze = self.model.config.freeze

    def checkpoint_bytes(self) -> int:
        """Return about what the model takes: there is nothing to go on from."""
        return tensor_bytes(self.model.state_dict())

    def run(self, folder: RunFolder) -> None:
        """Remember every picture that can be read, and score."""
        start = time.perf_counter()
        head = self.model.head
        assert isinstance(head, RememberingHead)
        data = self.data.features("training", self.dataset, self.precision)
        assert data is not None, "it was asked above"
        for fault in data.features.faults.values():
            self._leave_out(fault)
        good = [place for place in range(len(self.dataset)) if place not in data.features.faults]
        targets = [self.dataset.records[place].target for place in good]
        head.remember(data.features.rows[torch.tensor(good)], self.task.data.collate_targets(targets))
        entry = {"epoch": 1, "step": 0, "lr": 0.0, **LossRecord().entry(0), "skipped": len(self.skipped)}
        if self.validation is not None:
            self.scores = self.data.score(self.model)
            entry["val"] = dict(self.scores)
        self.history = [entry]
        folder.write_metrics(self.history)
        tracking = Tracking(self.processes.accelerator, self.track, folder.path, self.recipe, 0)
        tracking.epoch(entry)
        tracking.end()
        self.seconds = time.perf_counter() - start
