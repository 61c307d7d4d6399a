"""Models with the Euclidean distance: evaluation, attacks, combination, saving and training respect it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.unit.tasks.face.training.test_training import RECIPE, people
from zoo.cli.main import main
from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.ensemble import Ensemble
from zoo.evaluation.robustness.attacked import attack_evaluate
from zoo.task.contract import get_task
from zoo.tasks.face.embedding.distances import EmbeddingCombination

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = get_task("face")
DATA = "demo:faces?people=6&per_person=3"
RAW, UNIT = ({"distance": name, "unit_length": name == "cosine", "threshold": None} for name in ("euclidean", "cosine"))


def built(seed: int = 0, **options: Any) -> zoo.Model:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"image_size": 32, "embedding_size": 8, "neck": "dlib", "distance": "euclidean", **options}
    return zoo.build("test_resnet", "face", **settings)


def opened() -> Dataset:
    return open_data(DATA, TASK.data.schemes, "face")


def test_embeddings_keep_their_length() -> None:
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        raw, unit = built()(pictures), built(distance="cosine")(pictures)
    torch.testing.assert_close(F.normalize(raw, dim=1), unit)
    assert (raw.norm(dim=1) - 1).abs().min() > 0.01


@pytest.mark.parametrize(("asked", "used"), [(None, "euclidean"), ("cosine", "cosine"), ("euclidean", "euclidean")])
def test_evaluation_compares_as_the_model_does(asked: Any, used: str) -> None:
    model = built()
    scores = zoo.evaluate(model, DATA, metric_options={"score": asked})
    assert scores.details["score"] == used
    with torch.inference_mode():
        rows = TASK.answers.split(model([sample.image for sample in opened()]))
    metric = TASK.scoring.metric(opened(), (), score=used)
    metric.update(rows, [record.target for record in opened().records], opened().keys)
    assert scores.scores["auc"] == pytest.approx(metric.compute().scores["auc"], abs=1e-6)
    assert zoo.evaluate(built(distance="cosine"), DATA).details["score"] == "cosine"


def test_the_command_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(built(), tmp_path / "m")
    used = []
    for words in ([], ["--score", "cosine"]):
        assert main(["eval", str(tmp_path / "m"), "--data", DATA, "--json", "--quiet", "--replicates", "0", *words]) == 0
        used.append(json.loads(capsys.readouterr().out)["details"]["score"])
    assert used == ["euclidean", "cosine"]


def test_several_models_are_compared_by_cosine() -> None:
    assert zoo.evaluate([built(), built(1)], DATA).details["score"] == "cosine"
    assert TASK.parse_scoring({}) == {"score": "cosine", "threshold": None}, "embeddings from a file"


def test_the_attack_is_on_the_models_distance() -> None:
    assert TASK.parse_scoring({}, [RAW])["score"] == "euclidean"
    protocol: Any = TASK.attack_protocol(opened(), (), 3, 0, **TASK.parse_scoring({}, [RAW]))
    clean = {key: np.full(4, number, np.float32) for number, key in enumerate(opened().keys)}  # all in the same direction
    clean[opened().keys[0]] = np.full(4, 0.5, np.float32)
    attacked = protocol.attacked(clean)
    numbers = [record.target for record in attacked.records]
    probes = torch.from_numpy(np.stack([clean[record.key.split(" → ")[0]] for record in attacked.records]))
    losses = protocol.loss(probes, numbers)
    gallery = torch.from_numpy(np.stack([clean[record.key.split(" → ")[1]] for record in attacked.records]))
    torch.testing.assert_close(losses.abs(), (probes - gallery).norm(dim=1))
    assert losses.abs().min() > 0.5


def test_an_attacked_model_is_scored_by_its_distance() -> None:
    pytest.importorskip("captum", reason="needs captum, the extra robustness")
    found = attack_evaluate(built(), DATA, steps=1, pairs=6, replicates=0, workers=0)
    assert found["clean"]["details"]["score"] == found["robust"]["details"]["score"] == "euclidean"


def test_mistakes_are_told_as_distances() -> None:
    mistakes = zoo.evaluate(built(), DATA).mistakes
    assert mistakes
    for mistake in mistakes:
        distance, threshold = (float(part.split()[-1]) for part in mistake.text.split(": ")[1].split(","))
        assert mistake.text.split(": ")[1].startswith("distance ")
        assert (distance > threshold > 0) == mistake.text.startswith("one person, taken for two")


def test_views_of_raw_embeddings_are_averaged_as_they_are() -> None:
    views = [np.array([5, 0], np.float32), np.array([0, 1], np.float32)]
    raw, unit = TASK.combination([RAW]), TASK.combination([UNIT])
    assert raw.views(views).tolist() == [2.5, 0.5]
    assert unit.views(views) == pytest.approx([0.5**0.5] * 2)
    assert raw.views(views).dtype == np.float32
    several = TASK.combination([RAW, RAW])
    assert isinstance(several, EmbeddingCombination)
    assert several.views(views) == pytest.approx([0.5**0.5] * 2), "over several models, only directions count"
    for model, expected in ((built(), raw), (built(distance="cosine"), unit)):
        combination = Ensemble.of(model, tta=["flip"]).combination
        assert combination is not None
        assert combination.views(views).tolist() == expected.views(views).tolist()
    scores = zoo.evaluate(built(), DATA, tta=["flip"])
    assert (scores.details["flip"], scores.details["score"]) == (True, "euclidean")


def test_a_saved_model_keeps_its_threshold_until_it_is_another_model(tmp_path: Path) -> None:
    model = built()
    assert model.metadata == RAW
    model.metadata["threshold"] = 0.6
    folder = zoo.save(model, tmp_path / "m")
    assert zoo.load(folder).metadata == zoo.load(folder, image_size=64).metadata == {**RAW, "threshold": 0.6}
    assert zoo.load(folder, distance="cosine").metadata == UNIT
    assert zoo.load(folder, neck=None, distance=None).metadata == {**RAW, "threshold": 0.6}, "None keeps the saved value"
    assert zoo.build("test_resnet", "face", weights=folder).metadata == {**RAW, "threshold": 0.6}
    assert zoo.build("test_resnet", "face", weights=folder, distance="cosine").metadata == UNIT
    assert zoo.build("test_resnet", "classification", weights=folder, num_classes=2, say=lambda line: None).metadata == {}


def test_training_ends_what_was_known_of_a_threshold(tmp_path: Path) -> None:
    model = built(neck="mean", distance="cosine", num_classes=5)
    model.metadata["threshold"] = 0.4
    run = zoo.train(model, people(), None, replace(RECIPE, epochs=1), tmp_path / "run")
    assert run.model.metadata["threshold"] is None
    assert zoo.load(run.folder).metadata["threshold"] is None


# -- necks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neck", ["mean", "flat", "facenet", "dlib"])
def test_every_neck_stands_on_any_trunk_and_learns(neck: Any, tmp_path: Path) -> None:
    model = built(neck=neck, distance="cosine", num_classes=5)
    run = zoo.train(model, people(), None, replace(RECIPE, epochs=8, lr=3e-3, warmup=0.0), tmp_path / "run")
    assert run.history[-1]["loss"] < 0.9 * run.history[0]["loss"]
    norms: dict[str, float | None] = {"mean": 1e-5, "flat": 1e-5, "facenet": 1e-3, "dlib": None}
    assert getattr(run.model.head.norm, "eps", None) == norms[neck]
    if neck == "flat":
        assert run.model.head.norm.weight.tolist() == [1] * 8  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("neck", ["mean", "flat"])
def test_dropout_is_of_training_alone(neck: Any) -> None:
    model = built(neck=neck, distance="cosine", dropout=0.5)
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(pictures), model(pictures))
    model.backbone.eval()
    model.head.train()
    assert not torch.equal(model(pictures), model(pictures))
    none = built(neck=neck, distance="cosine").train()
    none.backbone.eval()
    assert torch.equal(none(pictures), none(pictures))


def test_a_neck_for_one_size_has_no_views_of_other_sizes() -> None:
    model = built(neck="flat", distance="cosine", image_size=128)
    assert zoo.evaluate(model, DATA, tta=["flip"]).n == 18
    with pytest.raises(InputError, match="only accepts 128×128"):
        zoo.evaluate(model, DATA, tta=["scales"])


def test_one_picture_is_no_batch_for_the_flat_neck_either() -> None:
    model = built(neck="flat", distance="cosine").train()
    model.backbone.eval()
    with pytest.raises(InputError, match="the batch has one image, but batch norm needs 2 or more in training mode"):
        model(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neck": "swan"}, r"neck of face: 'swan'\. .*mean"),
        ({"alignment": "fecenet"}, r"alignment of face: 'fecenet'\. .*facenet"),
        ({"distance": "manhattan"}, r"distance of face: 'manhattan'\. .*cosine"),
        ({"loss": None}, r"loss of face: 'None'\."),
    ],
)
def test_names_that_there_are_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        TASK.parse_options(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"dropout is 1\.0; expected a value in \[0, 1\)"),
        ({"dropout": 0.5, "neck": "dlib"}, r"dropout is 0\.5; expected 0, because dlib's neck has no dropout"),
    ],
)
def test_dropout_that_can_not_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.parse_options(options)


# -- defaults of a backbone --------------------------------------------------------------------------------------------


def test_a_face_network_brings_its_own_defaults_and_the_caller_wins() -> None:
    model = zoo.build("iresnet18", "face")
    assert (model.config.options["neck"], model.config.options["embedding_size"], model.preprocess.size_hw) == ("flat", 512, (112, 112))
    assert model.preprocess.alignment == "arcface"
    asked = zoo.build("iresnet18", "face", embedding_size=128, neck="mean", alignment="none", image_size=None)
    assert (asked.config.options["neck"], asked.config.options["embedding_size"], asked.preprocess.alignment) == ("mean", 128, None)
    assert zoo.build("resnet20", "face").config.options == TASK.parse_options({}).__dict__
    fresh = zoo.build("dlib_resnet29", "face")
    assert fresh.metadata == UNIT, "random weights imply no distance, and training uses angles"


def test_the_command_line_may_ask_for_what_is_usual_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An embedding size of 128 isn't the default of an IResNet, but that of other backbones."""
    words = ["--task", "face", "--backbone", "iresnet18", "--embedding-size", "128", "--image-size", "32", "--neck", "mean"]
    assert main(["eval", *words, "--data", DATA, "--json", "--quiet", "--replicates", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["preprocess"]["size_hw"] == [32, 32]


def test_alignment_travels_with_a_model_of_ones_own(tmp_path: Path) -> None:
    model = built(alignment="arcface")
    folder = zoo.save(model, tmp_path / "m")
    assert zoo.load(folder).preprocess.alignment == "arcface"
    assert zoo.build("test_resnet", "face", weights=folder).preprocess.alignment == "arcface"
    with pytest.raises(InputError, match=r"alignment is 'dlib', but the weights .* were trained with 'arcface'; omit it"):
        zoo.build("test_resnet", "face", weights=folder, alignment="dlib")
    unaligned = zoo.save(built(), tmp_path / "n")
    assert zoo.build("test_resnet", "face", weights=unaligned, alignment="dlib").preprocess.alignment == "dlib"


@pytest.mark.parametrize(("name", "least"), [("inception_resnet_v1", 75), ("dlib_resnet29", 71)])
def test_pictures_too_small_for_a_trunk(name: str, least: int) -> None:
    model = zoo.build(name, "face", image_size=64)
    for side in (64, least - 1):
        message = f"{side}×{side} pixels are too small for the backbone {name}, which needs at least {least} pixels .* larger image_size"
        with pytest.raises(InputError, match=message):
            model(torch.rand(1, 3, side, side))
    assert torch.isfinite(model(torch.rand(1, 3, least, least))).all()


@pytest.mark.parametrize("name", ["iresnet18", "inception_resnet_v1", "dlib_resnet29"])
def test_freezing_and_layers_count_in_the_trunks_stages(name: str) -> None:
    model = zoo.freeze(zoo.build(name, num_classes=2), "stages=1")
    frozen = {key for key, value in model.backbone.named_parameters() if not value.requires_grad}
    layer = model.group_matcher()
    assert {layer(f"backbone.{key}") for key in frozen} == {0, 1}
    learning = {layer(key) for key, value in model.named_parameters() if value.requires_grad}
    assert learning == set(range(2, len(model.backbone.levels) + 2))
