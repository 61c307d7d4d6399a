"""Small models, data and answers for tests of ensembles and test-time augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from tests.pictures import COLOURS
from zoo.data.dataset import Dataset, Record
from zoo.data.loader import Reading
from zoo.evaluation.ensemble import Ensemble
from zoo.evaluation.voting import Voting
from zoo.models.builder import build
from zoo.models.model import Model

CLASSES = tuple(sorted(COLOURS))
SMALL: dict[str, dict[str, Any]] = {
    "classification": {"image_size": 16},
    "detection": {"image_size": 64, "score_threshold": 0.0, "max_detections": 5},
    "face": {"image_size": 16, "embedding_size": 8},
}


def model(seed: int = 0, task: str = "classification", backbone: str = "resnet20", **options: Any) -> Model:
    torch.manual_seed(seed)
    return build(backbone, task, **{"classes": CLASSES, **SMALL[task], **options})


def noise(seed: int, height: int, width: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def data(task: str = "classification", count: int = 12, size_hw: tuple[int, int] = (16, 16)) -> Dataset:
    box = np.array([[2, 2, 9, 12]], np.float32)
    targets = [{"boxes": box, "labels": np.array([index % 3])} if task == "detection" else index % 3 for index in range(count)]
    return Dataset("made", tuple(Record(f"s{index}", noise(index, *size_hw), targets[index]) for index in range(count)), CLASSES)


def reading(**changes: Any) -> Reading:
    return Reading(**{"workers": 0, "precision": "fp32", **changes})


def answers(models: Model | Sequence[Model], dataset: Dataset, vote: str = "soft", tta: Sequence[str] = ()) -> dict[str, Any]:
    ensemble = Ensemble.of(models, vote, tta)
    voting = Voting.of(ensemble, vote, None, dataset, reading())
    return {
        key: voting.answer(several)
        for batch in ensemble.answer(dataset, reading())
        for key, several in zip(batch.keys, batch.answers, strict=True)
    }


def probabilities(logits: Any) -> Any:
    return softmax(np.asarray(logits)[None].astype(np.float64), axis=1)[0]
