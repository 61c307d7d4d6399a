"""Evaluation: matching of classes, counting of samples, and equal scores from one or several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.damaged import write_coco
from tests.forking import in_processes
from tests.pictures import COLOURS, cut_short, picture, write_class_folders, write_picture
from zoo.data.classes import unnamed
from zoo.data.dataset import Dataset, Record, Sample
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation.evaluate import evaluate
from zoo.models.archive import save
from zoo.models.builder import build
from zoo.models.classes import imagenet_classes, imagenet_synsets, match_classes
from zoo.models.model import Model
from zoo.task.contract import get_task
from zoo.task.metric import Scores

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = get_task("classification")


def labelled(classes: tuple[str, ...], count: int = 12) -> Dataset:
    made = [Record(f"s{index}", picture((index, 0, 0), index, (16, 16)), index % max(1, len(classes))) for index in range(count)]
    return Dataset("made", tuple(made), classes)


def model(**options: Any) -> Model:
    torch.manual_seed(0)
    return build("resnet20", **{"classes": sorted(COLOURS), "image_size": 16, **options})


def by_colour() -> Model:
    """Return a model that is always right on COLOURS: its backbone is replaced by the channel means of the image."""

    class Means(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"c4": torch.nn.functional.pad(images.mean((2, 3), keepdim=True), (0, 0, 0, 0, 0, 61))}

    made = model()
    made.backbone = Means()  # type: ignore[assignment]
    fc = made.head.fc
    assert isinstance(fc, torch.nn.Linear)
    with torch.no_grad():
        fc.weight.zero_()
        fc.bias.zero_()
        for label, channel in enumerate((2, 1, 0)):  # blue, green, red
            fc.weight[label, channel] = 1
    return made


# -- classes -----------------------------------------------------------------------------------------------------------


def matched(theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    dataset, classes = match_classes(TASK, labelled(theirs, len(theirs)), ours)
    return [record.target for record in dataset.records], classes


def test_classes_are_matched_by_name() -> None:
    assert matched(("dog", "cat"), ("cat", "dog", "eel")) == ([1, 0], ("cat", "dog", "eel"))
    assert matched(("cat", "dog"), ("cat", "dog")) == ([0, 1], ("cat", "dog"))


def test_imagenets_folders_are_matched_by_synset() -> None:
    folders = (imagenet_synsets()[7], imagenet_synsets()[3])
    assert matched(folders, imagenet_classes())[0] == [7, 3]
    assert matched(folders, unnamed(1000))[0] == [7, 3]
    with pytest.raises(InputError, match="2 of its 2 classes are unknown to the model"):
        matched(folders, ("cat", "dog"))


def test_folders_that_are_the_models_own_synset_names_match_by_name() -> None:
    own = ("n00000002", "n00000001")
    assert matched(("n00000001",), own)[0] == [1]


def test_a_model_without_names_is_matched_by_order() -> None:
    assert matched(("cat", "dog"), ("0", "1")) == ([0, 1], ("cat", "dog"))
    with pytest.raises(InputError, match="2 of its 2 classes are unknown"):
        matched(("cat", "dog"), ("0", "1", "2"))


def test_unknown_classes_are_named() -> None:
    with pytest.raises(InputError, match=r"data 'made': 1 of its 2 classes are unknown to the model \(yak\); the model has 2: cat, dog"):
        matched(("cat", "yak"), ("cat", "dog"))


def test_data_without_classes_counts_as_the_model_does() -> None:
    dataset = labelled(())
    assert match_classes(TASK, dataset, ("cat", "dog")) == (dataset, ("cat", "dog"))


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_model_that_is_always_right(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=3)
    scores = evaluate(by_colour(), f"folder:{tmp_path}", batch_size=2)
    averages = {f"{name}{average}": 1 for name in ("precision", "recall", "f1") for average in ("", "_micro", "_weighted")}
    assert {name: value for name, value in scores.items() if name != "ece"} == {"top1": 1, "top5": 1, "auc": 1, **averages}
    assert (scores.n, scores.expected, scores.skipped) == (9, 9, ())
    assert scores.per_class["red"] == {"precision": 1, "recall": 1, "f1": 1, "n": 3}
    assert scores.details["confusion_matrix"]["rows_true_columns_answered"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]


def test_scores_by_hand() -> None:
    """Two red images are classified correctly and one is labelled green: top1 is 2/3, green has recall 0, red has precision 2/3."""
    red = COLOURS["red"]
    data = [Sample(picture(red, index, (16, 16)), label, f"{index}") for index, label in enumerate((2, 2, 1))]
    scores = evaluate(by_colour(), data)
    assert scores["top1"] == pytest.approx(2 / 3)
    assert scores.per_class == {
        "green": {"precision": 0, "recall": 0, "f1": 0, "n": 1},
        "red": {"precision": pytest.approx(2 / 3), "recall": 1, "f1": pytest.approx(0.8), "n": 2},
    }
    assert scores["f1"] == pytest.approx(0.4)


def test_the_result_does_not_depend_on_batches_workers_or_the_mode_before() -> None:
    data, trained = labelled(("blue", "green", "red"), 11), model().train()
    first = evaluate(trained, data)
    assert trained.training
    several: list[dict[str, Any]] = [{"batch_size": 3}, {"batch_size": 1}, {"workers": 1}]
    for options in several:
        assert evaluate(trained, data, **options).scores == first.scores


def test_the_json_form() -> None:
    content = evaluate(by_colour(), labelled(("blue", "green", "red"), 6)).to_dict()
    written = json.loads(json.dumps(content, allow_nan=False))
    assert written["scores"] == content["scores"]
    assert {"scores", "intervals", "per_class", "n", "expected", "skipped", "data", "preprocess", "precision", "seconds"} <= set(content)
    assert (content["n"], content["expected"], content["data"], content["precision"]) == (6, 6, "made", "fp32")


def test_one_class_scores() -> None:
    scores = evaluate(model(classes=["only"]), labelled(("only",), 4))
    assert scores["top1"] == 1


def test_skipped_samples_are_counted_and_listed(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=3, suffix=".jpg")
    cut_short(tmp_path / "red" / "1.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the class folder contains no images"):
        evaluate(model(classes=["blue", "empty", "green", "red"]), f"folder:{tmp_path}")
    scores = evaluate(model(classes=["blue", "empty", "green", "red"]), f"folder:{tmp_path}", on_error="skip")
    assert (scores.n, scores.expected) == (8, 9)
    assert [fault.key for fault in scores.skipped] == [str(tmp_path / "empty"), "red/1.jpg"]
    (tmp_path / "empty").rmdir()
    with pytest.raises(ImageError, match=r"red/1\.jpg"):
        evaluate(model(), f"folder:{tmp_path}")


def test_nothing_left_to_score(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=1, suffix=".jpg")
    for path in tmp_path.rglob("*.jpg"):
        cut_short(path)
    with pytest.raises(DataError, match=r"none of its 3 images can be read:\n  blue/0\.jpg: "):
        evaluate(model(), f"folder:{tmp_path}", on_error="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"workers": -1}, "workers is -1; expected 0 or more"),
        ({"device": "gpu"}, r"device 'gpu' is not available here \(.*\); try 'auto' or 'cpu'"),
        ({"device": "cuda:7"}, "device 'cuda:7' is not available here"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(model(), labelled(("red",)), **options)


def test_scores_are_a_mapping() -> None:
    scores = Scores({"top1": 0.5, "auc": None}, 1, 1)
    assert list(scores) == ["top1", "auc"]
    assert len(scores) == 2
    assert scores["auc"] is None


# -- several processes -------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
import torch
torch.set_num_threads(1)
import zoo
scores = zoo.evaluate(
    zoo.load(sys.argv[1]), sys.argv[2], device="cpu", on_error="skip", batch_size=1, workers=0, replicates=50
).to_dict()
if os.environ.get("RANK", "0") == "0":
    print(json.dumps(scores))
import torch.distributed
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


def made_of_101(task: str, root: Path) -> tuple[Model, str, str]:
    """Return a small model, a dataset of 101 images, and the key of the image that can't be read."""
    torch.manual_seed(0)
    if task == "detection":
        boxes = [[(("cat", "dog")[index % 2], (4, 4, 20, 20))] for index in range(101)]
        cut_short(write_coco(root / "data", boxes) / "images" / "5.png")
        small: dict[str, Any] = {"image_size": 32, "fpn_channels": 16, "representation_size": 16, "proposals": 20}
        made = build("test_resnet", task="detection", classes=["cat", "dog"], score_threshold=0.0, max_detections=5, **small)
        return made, f"coco:{root / 'data'}?images=images", "5.png"
    if task == "face":
        for index in range(101):
            write_picture(root / "data" / f"p{index % 13}" / f"{index}.png", picture((index % 13 * 15, 90, 40), index, (16, 16)))
        cut_short(root / "data" / "p5" / "5.png")
        return build("resnet20", task="face", image_size=16), f"identities:{root / 'data'}", "p5/5.png"
    write_class_folders(root / "data", per_class=34, suffix=".jpg")
    (root / "data" / "red" / "33.jpg").unlink()
    cut_short(root / "data" / "blue" / "5.jpg")
    return model(), f"folder:{root / 'data'}", "blue/5.jpg"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "face", "detection"])
def test_101_samples_score_the_same_over_one_two_and_three_processes(task: str, tmp_path: Path) -> None:
    """Hazard 7: samplers that pad all processes to equal shares count samples twice. Everything but the time is compared exactly.

    The batch size is 1, because float32 networks give slightly different answers in batches of another size.
    """
    made, data, unreadable = made_of_101(task, tmp_path)
    folder = save(made, tmp_path / "model")
    results = [in_processes(count, PROGRAM, str(folder), data) for count in (1, 2, 3)]
    for result in results:
        assert (result["n"], result["expected"]) == (100, 101)
        assert [fault["key"] for fault in result["skipped"]] == [unreadable]
        del result["seconds"]
        assert result == results[0]
    assert len(results[0]["intervals"]) >= 3
    if task == "classification":
        assert np.sum(results[0]["details"]["confusion_matrix"]["rows_true_columns_answered"]) == 100
