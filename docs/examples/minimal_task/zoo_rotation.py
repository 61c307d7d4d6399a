"""A minimal task: the angle by which an image is rotated, with a head, one data format and one metric."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Fault
from zoo.images.drawing import caption
from zoo.registry import Registry
from zoo.task.answers import Answers
from zoo.task.building import Building
from zoo.task.contract import Task
from zoo.task.data import TaskData
from zoo.task.head import Head, HeadSpec, Losses, PooledHead
from zoo.task.metric import MetricResult
from zoo.task.scoring import Scoring


class RotationHead(PooledHead):
    """One linear layer from pooled features [B, C] to the angle's unit vector (cos, sin): [B, 2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, 2)

    def answer(self, pooled: Tensor) -> Tensor:
        return nn.functional.normalize(self.fc(pooled), dim=1)

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        wanted = torch.stack([targets.deg2rad().cos(), targets.deg2rad().sin()], 1)
        return {"loss_angle": (1 - (self.answer(pooled) * wanted).sum(1)).mean()}


class RotationBuilding(Building):
    def head(self, spec: HeadSpec) -> Head:
        return RotationHead(spec.levels[-1].channels)


def open_angles(ref: DataRef, on_error: OnError) -> Dataset:
    """Read `angles:FOLDER`: images, and angles.csv with the columns `file` and `degrees`."""
    records, faults, folder = [], [], ref.folder()
    with (folder / "angles.csv").open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                records.append(Record(row["file"], folder / row["file"], float(row["degrees"])))
            except (KeyError, TypeError, ValueError) as error:
                faults.append(Fault(f"{folder}/angles.csv", f"line {line}: expected file,degrees ({error})", whole=True))
    return finish(ref, records, (), faults, on_error)


FORMATS: Registry[Scheme] = Registry("data format of rotation")
FORMATS.add("angles", Scheme("angles", open_angles))


class RotationData(TaskData):
    schemes = FORMATS


def degrees_of(vector: NDArray[np.float32]) -> float:
    """Return the angle of a unit vector (cos, sin), in degrees from 0 to 360."""
    return float(np.degrees(np.arctan2(vector[1], vector[0])) % 360)


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of one image, as yielded by `zoo.predict`."""

    key: str
    image: NDArray[np.uint8]
    degrees: float

    def plot(self) -> Image:
        return caption(self.image, [f"{self.degrees:.0f}°"])

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "degrees": self.degrees}


class RotationAnswers(Answers):
    def prediction(self, answer: Any, image: NDArray[np.uint8], key: str, classes: tuple[str, ...], metadata: Any = None) -> Rotation:
        return Rotation(key, image, degrees_of(answer))


class AngleMetric:
    """Mean absolute error in degrees, and the fraction of images within 15 degrees."""

    def __init__(self) -> None:
        self.errors: dict[str, float] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        for answer, target, key in zip(answers, targets, keys, strict=True):
            self.errors[key] = abs((degrees_of(answer) - target + 180) % 360 - 180)

    def state(self) -> Mapping[str, float]:
        return self.errors

    def merge(self, states: Sequence[Mapping[str, float]]) -> None:
        self.errors = {key: error for state in states for key, error in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        errors = np.array([self.errors[key] for key in sorted(self.errors)])
        return MetricResult({"within15": float((errors <= 15).mean()), "error_deg": float(errors.mean())})


class RotationScoring(Scoring):
    primary_score: ClassVar[str] = "within15"

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> AngleMetric:
        return AngleMetric()


ROTATION = Task("rotation", RotationBuilding(), RotationData(), RotationAnswers(), RotationScoring())
