"""Training on cached features of a frozen backbone: equal to training on the images, also for resumed runs and in several processes."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forking import in_processes
from tests.listening import Listening
from tests.pictures import COLOURS, cut_short, write_class_folders
from tests.small_training import RECIPE, StopAt, coloured, fresh, same
from zoo.cli.main import main
from zoo.data.formats import open_data
from zoo.errors import ImageError, InputError
from zoo.evaluation.evaluate import evaluate
from zoo.images.preprocess import ImageBatch
from zoo.models.archive import load
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.hardware import autocast
from zoo.system.signals import Interrupted
from zoo.tasks.classification.augment import Augment
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.training.recipe import FaceRecipe
from zoo.training.features.engine import eager_features
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = replace(RECIPE, freeze="trunk", crop_scale=1.0, flip=0.0)
FACES = FaceRecipe(
    epochs=2, batch_size=4, precision="fp32", workers=0, freeze="trunk", flip=0.0, rotation=0.0, shift=0.0, zoom=0.0, light=0.0
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images of the batches whose features were computed for the cache."""
    sizes: list[int] = []

    def counted(model: Model, images: Any, precision: Any) -> Any:
        sizes.append(len(images))
        return eager_features(model, images, precision)

    monkeypatch.setattr("zoo.training.features.cache.eager_features", counted)
    return sizes


def faces(**options: Any) -> Model:
    torch.manual_seed(5)
    return build("test_resnet", "face", classes=sorted(COLOURS), **{"image_size": 32, "embedding_size": 8, **options})


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        (fresh, PLAIN),
        (fresh, replace(PLAIN, precision="bf16")),
        (lambda: fresh(dropout=0.5), replace(PLAIN, label_smoothing=0.2, ema=0.9, grad_accumulation=2, balance="classes")),
        (faces, FACES),
    ],
)
def test_a_head_learns_what_it_learns_without_the_cache(tmp_path: Path, cache: Path, model: Callable[[], Model], recipe: Any) -> None:
    """Face heads contain a batch-norm and a margin, which have a state."""
    slow = train(model(), coloured(), coloured(6), replace(recipe, feature_cache=False), tmp_path / "slow")
    assert not cache.exists()
    quick = train(model(), coloured(), coloured(6), recipe, tmp_path / "quick")
    assert len(list(cache.iterdir())) == 2
    assert same(quick.model.backbone.state_dict(), model().backbone.state_dict())
    assert not same(quick.model.head.state_dict(), model().head.state_dict())
    close = 1e-2 if recipe.precision == "bf16" else 1e-5
    for key, value in slow.model.head.state_dict().items():
        torch.testing.assert_close(quick.model.head.state_dict()[key], value, rtol=close, atol=close)
    for one, other in zip(slow.history, quick.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=close)


@pytest.mark.parametrize(("model", "recipe"), [(fresh, PLAIN), (faces, FACES)])
def test_scores_in_training_are_those_of_an_evaluation(tmp_path: Path, model: Callable[[], Model], recipe: Any) -> None:
    run = train(model(), coloured(), coloured(9), replace(recipe, epochs=1), tmp_path / "run")
    scores = evaluate(load(run.folder), coloured(9), replicates=0)
    assert run.scores is not None
    assert dict(run.scores) == pytest.approx(dict(scores), abs=1e-6, nan_ok=True)
    assert run.scores.fingerprints == scores.fingerprints


def test_the_trunk_sees_every_picture_once(tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = Model.features

    def counted(self: Model, batch: ImageBatch) -> Any:
        seen.append(len(batch))
        return before(self, batch)

    monkeypatch.setattr(Model, "features", counted)
    monkeypatch.setattr("zoo.training.train.write_training_report", lambda *arguments: None)  # it contains predictions for a few images
    # choosing an engine would compute the first batch once more
    monkeypatch.setattr("zoo.training.features.trunk.usable_engines", lambda *arguments: [])
    monkeypatch.setattr(Augment, "__call__", lambda self, sample: pytest.fail("nothing is augmented"))
    listening = Listening()
    run = train(fresh(), coloured(), coloured(6), replace(PLAIN, epochs=5, mixup=0.5), tmp_path / "run", progress=listening)
    assert seen == computed == [12, 6]
    assert any("without augmentation" in line and "--no-feature-cache" in line for line in listening.lines)
    assert sum("were saved to" in line for line in listening.lines) == 2
    # another head on the same backbone
    train(build_like(run.model), coloured(), coloured(6), PLAIN, tmp_path / "again", progress=listening)
    assert seen == [12, 6]
    assert sum("were loaded from" in line for line in listening.lines) == 2


def build_like(model: Model) -> Model:
    """Return a model with another head on the same backbone, frozen when it is built."""
    other = fresh(3, freeze="trunk", dropout=0.1)
    other.backbone.load_state_dict(model.backbone.state_dict())
    return other


@pytest.mark.slow
@pytest.mark.parametrize(("features", "limit", "precision"), [(True, 2**24, "fp32"), (True, 1, "bf16"), (False, 2**24, "bf16")])
def test_a_small_head_alone_learns_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: bool, limit: int, precision: str
) -> None:
    """16-bit arithmetic would cost more than it gains."""
    seen = set()

    def noted(given: Any, device: Any) -> Any:
        seen.add(given)
        return autocast(given, device)

    monkeypatch.setattr("zoo.training.gradients.autocast", noted)
    monkeypatch.setattr("zoo.training.features.trunk._SMALL", limit)
    train(fresh(), coloured(), None, replace(PLAIN, precision="bf16", feature_cache=features), tmp_path / "run")
    assert seen == {precision}


def test_a_head_alone_waits_for_no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise AssertionError("kernels of the backbone are prepared")

    monkeypatch.setattr("zoo.training.gradients.has_norm_kernels", none)
    monkeypatch.setattr("zoo.training.gradients.training_kernels", none)
    recipe = replace(PLAIN, precision="bf16")
    assert train(fresh(), coloured(), None, recipe, tmp_path / "run").history
    with pytest.raises(AssertionError, match="kernels of the backbone"):
        train(fresh(), coloured(), None, replace(recipe, feature_cache=False), tmp_path / "other")


def test_people_of_orl_are_learned_from_features_of_real_faces(tmp_path: Path, shared_data: Path) -> None:
    data, test = (f"identities:{shared_data / 'orl' / part}" for part in ("train", "test"))
    recipe = replace(FACES, epochs=3, batch_size=32, lr=3e-3)
    torch.manual_seed(0)
    people = tuple(sorted(path.name for path in (shared_data / "orl" / "train").iterdir()))
    model = build("test_resnet", "face", classes=people, image_size=48)
    run = train(model, data, test, recipe, tmp_path / "run")
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert run.scores is not None
    scores = evaluate(load(run.folder), test, replicates=0)
    assert dict(run.scores) == pytest.approx(dict(scores), abs=1e-6)
    embeddings = load(run.folder)
    images = [picture.image for picture in open_data(test, SCHEMES, "face")[:4]]
    torch.testing.assert_close(embeddings(images), run.model(images), rtol=1e-5, atol=1e-6)


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize(("model", "recipe"), [(lambda seed=5: fresh(seed, dropout=0.5), PLAIN), (lambda seed=5: faces(), FACES)])
def test_an_interrupted_run_ends_bit_for_bit_the_same(
    tmp_path: Path, cache: Path, model: Callable[..., Model], recipe: Any, cleared: bool
) -> None:
    recipe = replace(recipe, epochs=3, ema=0.9)
    whole = train(model(), coloured(14), coloured(6), recipe, tmp_path / "whole").folder
    with pytest.raises(Interrupted, match="interrupted after 5 batches"):
        train(model(), coloured(14), coloured(6), recipe, tmp_path / "run", progress=StopAt(5))
    if cleared:
        shutil.rmtree(cache)
    train(model(99), coloured(14), coloured(6), recipe, tmp_path / "run", resume=True)
    assert same(load(tmp_path / "run").state_dict(), load(whole).state_dict())
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_ctrl_c_while_features_are_computed_stops_at_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(fresh(), coloured(), coloured(6), PLAIN, tmp_path / "whole").folder
    shutil.rmtree(cache)
    usual, handlers = signal.getsignal(signal.SIGINT), []

    def interrupted(*arguments: Any, **options: Any) -> None:
        handlers.append(signal.getsignal(signal.SIGINT))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zoo.training.features.cache.eager_features", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), coloured(), coloured(6), PLAIN, tmp_path / "run")
    assert handlers == [usual]  # not yet the training loop's, which finishes the current batch first
    assert not list(cache.iterdir())
    train(fresh(), coloured(), coloured(6), PLAIN, tmp_path / "run", resume=True)
    assert same(load(tmp_path / "run").state_dict(), load(whole).state_dict())


def test_a_run_with_the_cache_is_not_continued_without(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(fresh(), coloured(), None, PLAIN, tmp_path / "run", progress=StopAt(2))
    with pytest.raises(InputError, match="recipe: feature_cache was True, is False"):
        train(fresh(), coloured(), None, replace(PLAIN, feature_cache=False), tmp_path / "run", resume=True)


# -- where there is no cache -------------------------------------------------------------------------------------------


def test_stages_that_thaw_need_the_trunk(tmp_path: Path, cache: Path) -> None:
    listening = Listening()
    before = fresh().backbone.state_dict()
    recipe = replace(PLAIN, epochs=3, unfreeze_every=2)
    run = train(fresh(), coloured(), coloured(6), recipe, tmp_path / "run", progress=listening)
    assert not cache.exists()
    assert any("frozen backbone runs in every epoch" in line and "unfreeze_every" in line for line in listening.lines)
    assert not same(run.model.backbone.state_dict(), before)


def test_detection_needs_more_of_a_trunk(tmp_path: Path, cache: Path) -> None:
    from zoo.tasks.detection.training.recipe import DetectionRecipe

    torch.manual_seed(0)
    model = build("test_resnet", "detection", num_classes=10, image_size=64, max_image_size=64, fpn_channels=8)
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    listening = Listening()
    recipe = DetectionRecipe(epochs=1, batch_size=2, precision="fp32", workers=0, freeze="trunk")
    run = train(model, "demo:scenes?limit=4", None, recipe, tmp_path / "run", progress=listening)
    assert any("frozen backbone runs in every epoch" in line and "the head of detection" in line for line in listening.lines)
    assert not cache.exists()
    assert same(run.model.backbone.state_dict(), before)


@pytest.mark.parametrize("freeze", ["none", "stages=1", "norm"])
def test_a_trunk_that_learns_has_no_cache(tmp_path: Path, cache: Path, freeze: str) -> None:
    listening = Listening()
    train(fresh(), coloured(), None, replace(PLAIN, epochs=1, freeze=freeze), tmp_path / "run", progress=listening)
    assert not cache.exists()
    assert not any("frozen backbone" in line or "features" in line for line in listening.lines)


# -- bad pictures ------------------------------------------------------------------------------------------------------


def test_unreadable_pictures_stop_or_are_left_out(tmp_path: Path, computed: list[int]) -> None:
    write_class_folders(tmp_path / "data", per_class=4, suffix=".jpg")
    bad = cut_short(tmp_path / "data" / "green" / "2.jpg")
    data = f"folder:{tmp_path / 'data'}"
    with pytest.raises(ImageError, match=str(bad)):
        train(fresh(), data, None, PLAIN, tmp_path / "one")
    for name in ("two", "three"):  # the second time from the cache, which holds the errors as well
        run = train(fresh(), data, data, PLAIN, tmp_path / name, on_error="skip")
        assert [fault.key for fault in run.skipped] == ["green/2.jpg"]
        assert run.history[-1]["skipped"] == 1
        assert run.history[-1]["not_finite"] == 0
        assert run.scores is not None
        assert (run.scores.n, run.scores.expected) == (11, 12)
    assert computed == [11]  # training and validation data are the same here, in one precision
    with pytest.raises(ImageError, match=str(bad)):
        train(fresh(), data, None, PLAIN, tmp_path / "four")


# -- the command, and several processes --------------------------------------------------------------------------------


def test_the_flag_trains_on_augmented_pictures(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_class_folders(tmp_path / "data")
    words = f"train --data folder:{data} --backbone test_resnet --image-size 32 --epochs 1 --batch-size 4 --workers 0 --freeze trunk --json"
    assert main([*words.split(), "--out", str(tmp_path / "slow"), "--no-feature-cache"]) == 0
    assert not cache.exists()
    assert main([*words.split(), "--out", str(tmp_path / "quick")]) == 0
    assert len(list(cache.iterdir())) == 1
    said = capsys.readouterr().err
    assert said.count("--no-feature-cache") == 1
    assert "feature_cache = false" in (tmp_path / "slow" / "recipe.toml").read_text()


PROGRAM = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import torch
import zoo.training.features.cache
from tests.unit.training.features.test_trunk import PLAIN, coloured, fresh
from zoo.training.train import train

torch.set_num_threads(1)
os.environ["ZOO_CACHE"], out = sys.argv[1:]
computed, before = [], zoo.training.features.cache.eager_features
def counted(*arguments, **options):
    computed.append(1)
    return before(*arguments, **options)
zoo.training.features.cache.eager_features = counted
recipe = replace(PLAIN, batch_size=4 // int(os.environ["WORLD_SIZE"]))
run = train(fresh(), coloured(), coloured(7), recipe, out)
Path(out + os.environ["RANK"]).write_text(str(len(computed)))
print(json.dumps(run.history))
"""


@pytest.mark.slow
def test_the_first_of_two_processes_computes_and_both_learn_as_one(tmp_path: Path) -> None:
    alone = train(fresh(), coloured(), coloured(7), PLAIN, tmp_path / "alone").history
    shared: Any = in_processes(2, PROGRAM, str(tmp_path / "elsewhere"), str(tmp_path / "run"))
    assert [Path(f"{tmp_path / 'run'}{rank}").read_text() for rank in range(2)] == ["2", "0"]
    for one, other in zip(alone, shared, strict=True):
        assert one["curve"]["loss"] == pytest.approx(other["curve"]["loss"], abs=1e-5)
        assert one["val"] == pytest.approx(other["val"], abs=1e-6)
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1]) == shared[-1]


@pytest.mark.parametrize(("small", "threads"), [(2**24, 1), (1, 2)])
def test_a_small_head_learns_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, threads: int) -> None:
    monkeypatch.setattr("zoo.training.features.trunk._SMALL", small)
    torch.set_num_threads(2)  # the fixture one_thread restores it
    model, seen = fresh(), set[int]()
    plain: Any = model.head.pooled_loss

    def watched(pooled: torch.Tensor, targets: Any) -> Any:
        seen.add(torch.get_num_threads())
        return plain(pooled, targets)

    monkeypatch.setattr(model.head, "pooled_loss", watched)
    train(model, coloured(), recipe=PLAIN, out=tmp_path / "run")
    assert seen == {threads}
    assert torch.get_num_threads() == 2
