"""Evaluation with test-time augmentation: flips and other sizes, combined in the coordinates of the original image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.ensembles import CLASSES, answers, data, model, noise, probabilities
from zoo.data.dataset import Dataset, Record
from zoo.evaluation.evaluate import evaluate
from zoo.images.preprocess import ImageBatch

pytestmark = pytest.mark.usefixtures("one_thread")


def flipped(dataset: Dataset) -> Dataset:
    def turned(record: Record) -> Record:
        assert isinstance(record.source, np.ndarray)
        return replace(record, source=np.ascontiguousarray(record.source[:, ::-1]))

    return replace(dataset, records=tuple(turned(record) for record in dataset.records))


@pytest.mark.parametrize("task", ["classification", "face"])
def test_a_mirrored_picture_gets_the_same_answer_under_flip(task: str) -> None:
    made, dataset = model(task=task), data(task)
    straight, turned = (answers(made, each, tta=["flip"]) for each in (dataset, flipped(dataset)))
    plain = answers(made, dataset)
    for key, answer in straight.items():
        assert answer == pytest.approx(turned[key], abs=1e-5)
        assert answer != pytest.approx(plain[key], abs=1e-4), "the flipped view must have an influence"


def test_a_mirrored_picture_gets_the_same_boxes_mirrored_under_flip() -> None:
    """Images of different, partly odd widths are padded in one batch; they aren't scaled, so that their pixels are unchanged."""
    made = model(task="detection")
    records = [Record(f"s{index}", noise(index, 64, 65 + 7 * index), None) for index in range(3)]
    dataset = Dataset("made", tuple(records), CLASSES)
    straight, turned = (answers(made, each, tta=["flip"]) for each in (dataset, flipped(dataset)))
    for index, record in enumerate(records):
        x1, y1, x2, y2 = turned[record.key]["boxes"].T
        width = 65 + 7 * index
        back = np.stack([width - x2, y1, width - x1, y2], axis=1)
        assert len(back) > 0
        assert straight[record.key]["scores"] == pytest.approx(turned[record.key]["scores"], abs=1e-5)
        assert straight[record.key]["boxes"] == pytest.approx(back, abs=1e-2)


class Bright(torch.nn.Module):
    """A detector that returns the box of the bright pixels, in the coordinates of the original image like a real detector."""

    def forward(self, batch: ImageBatch) -> list[dict[str, torch.Tensor]]:
        found = []
        for pixels, (height, width), (whole_height, whole_width) in zip(batch.pixels, batch.sizes_hw, batch.original_sizes_hw, strict=True):
            rows, columns = torch.nonzero(pixels[0, :height, :width] > 0.5, as_tuple=True)
            scale = torch.tensor([whole_width / width, whole_height / height] * 2)
            box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * scale
            found.append({"boxes": box[None], "scores": torch.tensor([0.8]), "labels": torch.tensor([1])})
        return found


def test_boxes_of_every_view_come_back_to_their_place() -> None:
    """In padded batches, with odd widths and fractional scales, the fused box must equal the drawn one."""
    made = model(task="detection")
    made.forward = Bright().forward  # type: ignore[method-assign, assignment]
    drawn, records = {}, []
    for index, (height, width) in enumerate([(61, 97), (97, 61), (75, 75)]):
        image = np.zeros((height, width, 3), np.uint8)
        box = [5 + index, 8, 29 + index, 40]
        image[box[1] : box[3], box[0] : box[2]] = 255
        drawn[f"s{index}"] = box
        records.append(Record(f"s{index}", image, None))
    found = answers(made, Dataset("made", tuple(records), CLASSES), tta=["flip", "scales"])
    for key, answer in found.items():
        assert answer["boxes"] == pytest.approx(np.array([drawn[key]]), abs=1.5)
        assert answer["scores"] == pytest.approx([0.8], abs=1e-6)
        assert answer["labels"].tolist() == [1]


def test_scales_average_what_the_model_answers_at_other_sizes() -> None:
    """The views at 0.875, 1 and 1.25 of 32 pixels give the answers of models of these sizes with the same parameters."""
    made, dataset = model(image_size=32), data()
    each = []
    for size in (28, 32, 40):
        other = model(image_size=size)
        other.load_state_dict(made.state_dict())
        each.append(answers(other, dataset))
    for key, logits in answers(made, dataset, tta=["scales"]).items():
        assert probabilities(logits) == pytest.approx(np.mean([probabilities(found[key]) for found in each], axis=0), abs=1e-6)


def test_views_of_one_model_are_averaged_whatever_the_vote() -> None:
    """A vote combines models; a single model still gives probabilities."""
    found = {vote: evaluate(model(), data(), vote=vote, tta=["flip"], replicates=0) for vote in ("soft", "hard")}
    assert found["hard"].scores == found["soft"].scores
    assert found["hard"]["top5"] is not None


def test_the_flip_test_of_faces_is_stated() -> None:
    found = evaluate(model(task="face"), data("face"), tta=["flip"], replicates=0)
    assert found.details["flip"] is True
    assert found.details["ensemble"] == {
        "models": 1,
        "tta": ["flip"],
        "views": {"model": [{"size_hw": [16, 16], "mirror": False}, {"size_hw": [16, 16], "mirror": True}]},
    }
    assert set(found.fingerprints) == {"data", "model"}
