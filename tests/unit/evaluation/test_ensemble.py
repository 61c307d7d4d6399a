"""Evaluation of ensembles: equality with a single model, classes, skipped images, and details of the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.closeness import assert_close
from tests.ensembles import CLASSES, SMALL, answers, data, model, noise, probabilities, reading
from tests.forking import in_processes
from tests.pictures import COLOURS, cut_short, picture, write_class_folders
from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation.ensemble import Ensemble
from zoo.evaluation.evaluate import evaluate
from zoo.models.archive import save
from zoo.models.fingerprint import model_fingerprint
from zoo.task.answers import Answers
from zoo.task.contract import get_task
from zoo.tasks.classification.task import ClassificationAnswers
from zoo.tasks.face.task import FaceAnswers

pytestmark = pytest.mark.usefixtures("one_thread")


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
    """The ensemble answers with the mean of the models' separate answers, at 16 and at 32 pixels."""
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
    assert [member.new_index for member in found.members] == [[2, 1, 0], None], "numeric class names on both sides are matched by name"


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
    details = found["details"]["ensemble"]
    assert (details["models"], details["vote"], details["tta"]) == (2, "soft", ["flip"])
    assert details["weights"] == {"model 1": 0.5, "model 2": 0.5}
    assert details["views"]["model 2"] == [{"size_hw": [32, 32], "mirror": False}, {"size_hw": [32, 32], "mirror": True}]


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
    """Images are compared by content: the same image under another name counts, another image under the same name doesn't."""
    write_class_folders(tmp_path / "a", per_class=2)
    for name in COLOURS:
        (tmp_path / "b" / name).mkdir(parents=True)
        (tmp_path / "b" / name / "copy.png").write_bytes((tmp_path / "a" / name / "1.png").read_bytes())
        (tmp_path / "b" / name / "0.png").write_bytes((tmp_path / "a" / "red" / "0.png").read_bytes() + b"else")
    found = evaluate(
        [model(0), model(1)], f"folder:{tmp_path / 'a'}", vote="weighted", val=f"folder:{tmp_path / 'b'}", replicates=0
    ).details["ensemble"]["val"]
    assert found["also_in_data"] == 3
    assert "3 images of the validation data" in found["warning"]


def test_validation_data_that_cannot_be_read(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=1, suffix=".jpg")
    for path in tmp_path.rglob("*.jpg"):
        cut_short(path)
    with pytest.raises(DataError, match=r"validation data .* none of its 3 images can be read"):
        evaluate([model(0), model(1)], data(), vote="weighted", val=f"folder:{tmp_path}", on_error="skip")


# -- images that can't be read -----------------------------------------------------------------------------------------


def test_a_picture_is_scored_where_every_view_could_read_it() -> None:
    """The image can be read for the first view, but not for the second."""
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


class Plain(ClassificationAnswers):
    """Answers of a third-party task that can't be combined."""

    combination = Answers.combination


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "nothing to evaluate: pass at least one model"),
        (["classification", "face"], {}, r"the models have different tasks \(classification, face\)"),
        (["detection", "detection"], {"vote": "hard"}, "unknown vote of the task detection: 'hard'. Known: soft"),
        (["classification"], {"vote": "loud"}, "unknown vote of the task classification: 'loud'"),
        (["classification"], {"tta": ["crop"]}, "unknown test-time augmentation 'crop'"),
        (["classification"] * 2, {"vote": "weighted"}, "the vote 'weighted' needs validation data"),
        (
            ["classification"] * 2,
            {"val": data()},
            r"validation data \(--val\) is only used with the vote 'weighted', but the vote is 'soft'",
        ),
    ],
)
def test_invalid_options(models: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate([model(task=task) for task in models], data(), **options)


def test_models_that_know_other_classes() -> None:
    message = "model 2 has 3 classes where the others have 3: it lacks red and additionally has yellow. .* must have the same classes"
    with pytest.raises(InputError, match=message):
        evaluate([model(), model(classes=["blue", "green", "yellow"])], data())
    with pytest.raises(InputError, match="model 2 has 2 classes where the others have 3: it lacks red"):
        evaluate([model(), model(classes=["blue", "green"])], data())
    with pytest.raises(
        InputError, match="model 1 has 2 classes where the others have 3: it lacks blue, green, red and additionally has 0, 1"
    ):
        evaluate([model(classes=None, num_classes=2), model()], data())


def test_a_task_without_a_way_to_combine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(get_task("classification"), answers=Plain())
    monkeypatch.setattr("zoo.models.config.get_task", lambda name, options: plain)
    assert evaluate(model(), data(), replicates=0).n == 12
    for models, tta in (([model(), model(1)], ()), ([model()], ("flip",))):
        with pytest.raises(InputError, match="the task classification can't combine predictions; evaluate one model at a time"):
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
            assert_close(together[name], alone[name], name)


class NoFiles(FaceAnswers):
    """Answers of a task without prediction files."""

    files = Answers.files


def test_a_task_without_prediction_files() -> None:
    with pytest.raises(InputError, match="the task face doesn't support prediction files"):
        replace(get_task("face"), answers=NoFiles()).answer_files()
