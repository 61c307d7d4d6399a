"""Several models and several views as one evaluation: equality for one model, classes, pictures, and what a result says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import COLOURS, cut_short, picture, write_class_folders
from tests.processes import in_processes
from zoo.data import Dataset, Record
from zoo.ensemble import Ensemble, Reading
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation import evaluate
from zoo.fingerprint import model_fingerprint
from zoo.images import MAX_PIXELS
from zoo.model import Model, build, save
from zoo.preprocess import ImageBatch
from zoo.progress import Progress
from zoo.task import Task, get_task
from zoo.tasks.classification import ClassificationTask
from zoo.tasks.classification.counts import softmax
from zoo.voting import Voting

pytestmark = pytest.mark.usefixtures("one_thread")

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
    return replace(Reading(None, 0, "fp32", "raise", False, MAX_PIXELS, 0, 1, Progress(enabled=False)), **changes)


def answers(models: Model | Sequence[Model], dataset: Dataset, vote: str = "soft", tta: Sequence[str] = ()) -> dict[str, Any]:
    ensemble = Ensemble.of(models, vote, tta)
    voting = Voting.of(ensemble, vote, None, dataset, reading())
    return {
        key: voting.answer(several)
        for batch in ensemble.answer(dataset, reading())
        for key, several in zip(batch.keys, batch.answers, strict=True)
    }


def probabilities(logits: Any) -> Any:
    return softmax(np.asarray(logits)[None].astype(np.float64))[0]


# -- one model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "vote"), [
    ("classification", "soft"), ("classification", "hard"), ("classification", "weighted"), ("detection", "soft"), ("face", "soft"),
])  # fmt: skip
def test_one_model_is_an_ensemble_that_equals_it(task: str, vote: str) -> None:
    alone, dataset = model(task=task), data(task)
    first = evaluate(alone, dataset, replicates=20)
    again = evaluate([alone], dataset, vote=vote, val=dataset if vote == "weighted" else None, replicates=20)
    leave = {"seconds": 0.0}
    assert {**again.to_dict(), **leave} == {**first.to_dict(), **leave}
    assert set(first.fingerprints) == {"data", "model"}
    assert "ensemble" not in first.details
    assert again.replicates.keys() == first.replicates.keys()
    for name, drawn in first.replicates.items():
        np.testing.assert_array_equal(again.replicates[name], drawn)


def test_a_model_beside_itself_answers_as_it_does_alone() -> None:
    alone, dataset = model(), data()
    single, double = answers(alone, dataset), answers([alone, alone], dataset)
    for key, logits in single.items():
        assert probabilities(double[key]) == pytest.approx(probabilities(logits), abs=1e-6)


# -- several models ----------------------------------------------------------------------------------------------------


def test_every_model_answers_with_its_own_trunk_and_preprocessing() -> None:
    """The mean of what each answers alone, at 16 and at 32 pixels."""
    models = [model(0), model(1, image_size=32)]
    alone = [answers(member, data()) for member in models]
    together = answers(models, data())
    for key, logits in together.items():
        mean = (probabilities(alone[0][key]) + probabilities(alone[1][key])) / 2
        assert probabilities(logits) == pytest.approx(mean, abs=1e-6)


def test_classes_in_another_order_are_matched_by_name() -> None:
    first = model()
    turned = model(classes=CLASSES[::-1])
    turned.load_state_dict(first.state_dict())
    head, fc = first.head.fc, turned.head.fc
    assert isinstance(head, torch.nn.Linear)
    assert isinstance(fc, torch.nn.Linear)
    with torch.no_grad():
        fc.weight.copy_(head.weight.flip(0))
        fc.bias.copy_(head.bias.flip(0))
    alone, together = answers(first, data()), answers([first, turned], data())
    for key, logits in alone.items():
        assert probabilities(together[key]) == pytest.approx(probabilities(logits), abs=1e-6)
    assert evaluate([first, turned], data()).scores["top1"] == evaluate(first, data()).scores["top1"]


def test_models_without_class_names_are_matched_by_order() -> None:
    nameless = model(classes=None, num_classes=3)
    named = model(classes=CLASSES[::-1])
    assert Ensemble.of([nameless, named]).classes == CLASSES[::-1]
    assert [member.new_index for member in Ensemble.of([nameless, named]).members] == [None, None]
    digits = [model(classes=["0", "1", "2"]), model(classes=["2", "1", "0"])]
    found = Ensemble.of(digits)
    assert found.classes == ("2", "1", "0")
    assert [member.new_index for member in found.members] == [[2, 1, 0], None], "numbers that are names on both sides match by name"


def test_a_hard_vote_has_no_scores_of_probabilities() -> None:
    models = [model(seed) for seed in range(3)]
    found = evaluate(models, data(), vote="hard", replicates=0)
    votes = [[int(np.argmax(answers(member, data())[f"s{index}"])) for member in models] for index in range(12)]
    right = [index % 3 for index in range(12)]
    for index, counted in enumerate(votes):
        if counted.count(right[index]) >= 2:
            assert int(answers(models, data(), "hard")[f"s{index}"]) == right[index]
    assert found["top1"] is not None
    assert [found[name] for name in ("top5", "ece", "auc")] == [None] * 3


def test_face_models_may_have_been_trained_on_other_people() -> None:
    models = [model(task="face"), model(1, "face", classes=["somebody", "else"], embedding_size=4)]
    assert next(iter(answers(models, data("face")).values())).shape == (12,)
    found = evaluate(models, data("face"), replicates=0)
    assert (found.n, found.details["flip"], found.details["ensemble"]["models"]) == (12, False, 2)


def test_detectors_are_fused_with_labels_by_name() -> None:
    models = [model(task="detection"), model(task="detection", classes=CLASSES[::-1])]
    alone, together = (answers(members, data("detection", 1)) for members in (models[0], models))
    assert together["s0"]["labels"].max() <= 2
    assert len(together["s0"]["scores"]) <= 2 * len(alone["s0"]["scores"])
    assert evaluate(models, data("detection", 2), replicates=0).n == 2


def test_what_a_result_says_about_an_ensemble() -> None:
    models = [model(0), model(1, image_size=32)]
    found = evaluate(models, data(), tta=["flip"], replicates=0).to_dict()
    assert found["fingerprints"].keys() == {"data", "model 1", "model 2"}
    assert found["fingerprints"]["model 2"] == model_fingerprint(models[1])
    assert [found["preprocess"][f"model {number}"]["size_hw"] for number in (1, 2)] == [(16, 16), (32, 32)]
    said = found["details"]["ensemble"]
    assert (said["models"], said["vote"], said["tta"]) == (2, "soft", ["flip"])
    assert said["weights"] == {"model 1": 0.5, "model 2": 0.5}
    assert said["views"]["model 2"] == [{"size_hw": [32, 32], "mirror": False}, {"size_hw": [32, 32], "mirror": True}]


def test_a_picture_keeps_its_key_and_target() -> None:
    dataset = Dataset("made", (Record("only", picture((200, 0, 0), 0, (16, 16)), 2),), CLASSES)
    (batch,) = Ensemble.of([model(), model(1)]).answer(dataset, reading())
    assert (batch.keys, batch.targets, len(batch.answers), len(batch.answers[0])) == (("only",), (2,), 1, 2)


def test_modes_are_left_as_they_were() -> None:
    models = [model(0).train(), model(1)]
    evaluate(models, data(), replicates=0)
    assert [member.training for member in models] == [True, False]


# -- weights -----------------------------------------------------------------------------------------------------------


def test_weights_are_fitted_on_other_data_and_reported() -> None:
    models = [model(seed) for seed in range(2)]
    val = Dataset("held out", tuple(Record(f"v{index}", noise(100 + index, 16, 16), index % 3) for index in range(9)), CLASSES)
    found = evaluate(models, data(), vote="weighted", val=val, replicates=0).details["ensemble"]
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert (found["val"]["data"], found["val"]["n"], found["val"]["also_in_data"]) == ("held out", 9, 0)
    assert len(found["val"]["fingerprint"]) == 16
    assert found["val"]["log_loss"]["weighted"] <= found["val"]["log_loss"]["soft"]
    assert "warning" not in found["val"]


def test_validation_pictures_that_are_scored_too_are_warned_of(tmp_path: Path) -> None:
    """By content: the same picture under another name counts, another picture under the same name doesn't."""
    write_class_folders(tmp_path / "a", per_class=2)
    for name in COLOURS:
        (tmp_path / "b" / name).mkdir(parents=True)
        (tmp_path / "b" / name / "copy.png").write_bytes((tmp_path / "a" / name / "1.png").read_bytes())
        (tmp_path / "b" / name / "0.png").write_bytes((tmp_path / "a" / "red" / "0.png").read_bytes() + b"else")
    found = evaluate(
        [model(0), model(1)], f"folder:{tmp_path / 'a'}", vote="weighted", val=f"folder:{tmp_path / 'b'}", replicates=0
    ).details["ensemble"]["val"]
    assert found["also_in_data"] == 3
    assert "3 pictures of the validation data" in found["warning"]


def test_validation_data_that_cannot_be_read(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=1, suffix=".jpg")
    for path in tmp_path.rglob("*.jpg"):
        cut_short(path)
    with pytest.raises(DataError, match=r"validation data .* none of its 3 pictures can be read"):
        evaluate([model(0), model(1)], data(), vote="weighted", val=f"folder:{tmp_path}", on_error="skip")


# -- views -------------------------------------------------------------------------------------------------------------


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
        assert answer != pytest.approx(plain[key], abs=1e-4), "the mirror image has a say"


def test_a_mirrored_picture_gets_the_same_boxes_mirrored_under_flip() -> None:
    """Pictures of different and odd widths in one batch, so that they are padded, and no scaling, so that pixels are the same."""
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
    """A detector that finds the bright pixels, in the frame of the original picture, as a real one does."""

    def forward(self, batch: ImageBatch) -> list[dict[str, torch.Tensor]]:
        found = []
        for pixels, (height, width), (whole_height, whole_width) in zip(batch.pixels, batch.sizes_hw, batch.original_sizes_hw, strict=True):
            rows, columns = torch.nonzero(pixels[0, :height, :width] > 0.5, as_tuple=True)
            scale = torch.tensor([whole_width / width, whole_height / height] * 2)
            box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * scale
            found.append({"boxes": box[None], "scores": torch.tensor([0.8]), "labels": torch.tensor([1])})
        return found


def test_boxes_of_every_view_come_back_to_their_place() -> None:
    """In padded batches, on odd widths, scaled by numbers that aren't whole: the fused box is the one that was drawn."""
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
    """0.875, 1 and 1.25 of 32 pixels, as models of these sizes with the same parameters answer."""
    made, dataset = model(image_size=32), data()
    each = []
    for size in (28, 32, 40):
        other = model(image_size=size)
        other.load_state_dict(made.state_dict())
        each.append(answers(other, dataset))
    for key, logits in answers(made, dataset, tta=["scales"]).items():
        assert probabilities(logits) == pytest.approx(np.mean([probabilities(found[key]) for found in each], axis=0), abs=1e-6)


def test_views_of_one_model_are_averaged_whatever_the_vote() -> None:
    """A vote is between models: with one there are probabilities still."""
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


# -- pictures that can't be read ---------------------------------------------------------------------------------------


def test_a_picture_is_scored_where_every_view_could_read_it() -> None:
    """The first time it is asked for it is there, the second time no more."""
    calls: list[int] = []

    def source() -> Any:
        calls.append(1)
        if len(calls) % 2 == 0:
            raise ImageError("s1", "is gone")
        return noise(1, 16, 16)

    records = list(data().records)
    records[1] = Record("s1", source, 1)
    dataset = Dataset("made", tuple(records), CLASSES)
    models = [model(0), model(1, image_size=32)]
    found = evaluate(models, dataset, on_error="skip", workers=0, replicates=0)
    assert (found.n, found.expected, [fault.key for fault in found.skipped]) == (11, 12, ["s1"])
    assert "s1" not in found.sample_keys
    with pytest.raises(ImageError, match="s1"):
        evaluate(models, dataset, workers=0)


def test_skipped_pictures_count_once(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=3, suffix=".jpg")
    cut_short(tmp_path / "red" / "1.jpg")
    found = evaluate([model(0), model(1, image_size=32)], f"folder:{tmp_path}", tta=["flip", "scales"], on_error="skip", replicates=0)
    assert (found.n, [fault.key for fault in found.skipped]) == (8, ["red/1.jpg"])


# -- mistakes ----------------------------------------------------------------------------------------------------------


class Plain(ClassificationTask):
    """A task from elsewhere that knows nothing about combining answers."""

    combination = Task.combination


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "nothing to evaluate: give at least one model"),
        (["classification", "face"], {}, "the models are of several tasks: classification, face; expected one"),
        (["detection", "detection"], {"vote": "hard"}, "unknown vote of the task detection: 'hard'. Known: soft"),
        (["classification"], {"vote": "loud"}, "unknown vote of the task classification: 'loud'"),
        (["classification"], {"tta": ["crop"]}, "unknown test-time augmentation 'crop'"),
        (["classification"] * 2, {"vote": "weighted"}, "the vote 'weighted' fits its weights on validation data"),
        (["classification"] * 2, {"val": data()}, "validation data is given, which only the vote 'weighted' is fitted on"),
    ],
)
def test_what_cannot_be_meant(models: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate([model(task=task) for task in models], data(), **options)


def test_models_that_know_other_classes() -> None:
    message = "model 2 has 3 classes where the others have 3: it lacks red and adds yellow. The models of an ensemble must know the same"
    with pytest.raises(InputError, match=message):
        evaluate([model(), model(classes=["blue", "green", "yellow"])], data())
    with pytest.raises(InputError, match="model 2 has 2 classes where the others have 3: it lacks red"):
        evaluate([model(), model(classes=["blue", "green"])], data())
    with pytest.raises(InputError, match="model 1 has 2 classes where the others have 3: it lacks blue, green, red and adds 0, 1"):
        evaluate([model(classes=None, num_classes=2), model()], data())


def test_a_task_without_a_way_to_combine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.ensemble.get_task", lambda name: Plain())
    assert evaluate(model(), data(), replicates=0).n == 12
    for models, tta in (([model(), model(1)], ()), ([model()], ("flip",))):
        with pytest.raises(InputError, match="the task classification can't combine answers: evaluate one model at a time"):
            evaluate(models, data(), tta=tta)


def test_every_task_of_the_zoo_can_combine() -> None:
    for name in SMALL:
        assert "soft" in get_task(name).combination().votes


# -- several processes -------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
import torch
torch.set_num_threads(1)
import zoo
models = [zoo.load(folder) for folder in sys.argv[2:]]
data, val = f"folder:{sys.argv[1]}/data", f"folder:{sys.argv[1]}/val"
found = [
    zoo.evaluate(models, data, vote=vote, val=val if vote == "weighted" else None, tta=tta, device="cpu", on_error="skip",
                 batch_size=8, workers=0, replicates=20).to_dict()
    for vote, tta in (("weighted", ()), ("hard", ("flip",)))
]
if os.environ.get("RANK", "0") == "0":
    print(json.dumps(found))
import torch.distributed
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_an_ensemble_scores_the_same_over_one_and_three_processes(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", per_class=12, suffix=".jpg")
    write_class_folders(tmp_path / "val", per_class=5)
    cut_short(tmp_path / "data" / "blue" / "5.jpg")
    folders = [str(save(made, tmp_path / name)) for name, made in (("a", model(0)), ("b", model(1, image_size=32)))]
    for alone, together in zip(*(in_processes(count, PROGRAM, str(tmp_path), *folders) for count in (1, 3)), strict=True):
        assert (together["n"], [fault["key"] for fault in together["skipped"]]) == (35, ["blue/5.jpg"])
        for name in ("scores", "per_class", "details", "intervals", "fingerprints"):
            assert together[name] == alone[name], name
