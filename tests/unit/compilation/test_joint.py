"""Compiled models with several heads: one graph per pass, and agreement, scores, calibration and files by head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.engines import CLASSES, KINDS, SHARING, Fake, check_same, fake, photos, small_joint
from tests.pictures import write_picture
from zoo.compilation.agreement import DisagreementError
from zoo.compilation.source import Source
from zoo.engines import Judge, Network, Runner
from zoo.errors import InputError, UnknownNameError
from zoo.models.compiled import Compiled
from zoo.models.fingerprint import embedding_fingerprint, fingerprints, model_fingerprint
from zoo.models.model import Model
from zoo.models.networks import FirstNetwork
from zoo.system.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["fake"]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three images without ground truth."""
    return write_pictures(tmp_path / "pictures")


def write_pictures(folder: Path) -> Path:
    for number in range(3):
        write_picture(folder / f"{number}.png", np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> dict[str, str]:
    """Two images with classes for one head, two with boxes for another, and class names of both."""
    for number in range(2):
        for place in (tmp_path / "species" / CLASSES["species"][number], tmp_path / "parts"):
            write_picture(place / f"{number}.png", np.full((64, 64, 3), 90 * number, np.uint8))
    (tmp_path / "parts" / "boxes.csv").write_text("path,xmin,ymin,xmax,ymax,label\n0.png,5,5,40,40,ear\n1.png,9,9,30,30,tail\n")
    return {"species": f"folder:{tmp_path / 'species'}", "parts": f"csv:{tmp_path / 'parts' / 'boxes.csv'}"}


@pytest.fixture
def runs(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A list that receives the heads of every call of a graph with the backbone in it."""
    called: list[tuple[str, ...]] = []
    start = fake.start

    def counting(self: Fake, converted: Any, precision: Any, threads: int) -> Runner:
        run = start(self, converted, precision, threads)

        def counted(*inputs: Tensor) -> Any:
            if isinstance(converted, FirstNetwork):
                called.append(converted.heads)
            return run(*inputs)

        return counted

    monkeypatch.setattr(fake, "start", counting)
    return called


# -- calling -----------------------------------------------------------------------------------------------------------


def test_the_backbone_runs_once_for_heads_that_share_a_pass(runs: list[tuple[str, ...]], folder: Path) -> None:
    model = small_joint(*SHARING)
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    del runs[:]
    check_same(model(photos()), fast(photos()))
    assert runs == [SHARING]
    fast(photos(), tasks=["species"])
    assert runs == [SHARING] * 2, "the graph computes all heads of the pass"


def test_heads_of_another_pass_have_their_own_graph(runs: list[tuple[str, ...]], fake: type[Fake], folder: Path) -> None:
    model = small_joint()
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    assert sorted(set(fake.converted)) == ["health-pooled", "parts-boxes", "pictures", "pictures-2", "species-pooled"]
    del runs[:]
    check_same(model(photos()), fast(photos()))
    assert runs == [SHARING, ("who",)]
    del runs[:]
    assert [*fast(photos(), tasks=["who"])] == ["who"]
    assert runs == [("who",)]


def test_a_tensor_that_heads_share_is_one_output() -> None:
    model = small_joint(*SHARING)
    network = FirstNetwork(model, model.passes()[0], torch.zeros(1, 3, 64, 64))
    with torch.no_grad():
        by_head, found = network.by_head(torch.zeros(1, 3, 64, 96)), network(torch.zeros(1, 3, 64, 96))
    assert network.outputs["species"] == network.outputs["health"] == (0,)
    assert len(found) == 1 + len(by_head["parts"])
    for name, places in network.outputs.items():
        assert all(torch.equal(found[place], tensor) for place, tensor in zip(places, by_head[name], strict=True))


@pytest.mark.parametrize("heads", [("species", "parts"), ("parts",)])
def test_adapters_are_part_of_the_graph(heads: tuple[str, ...], runs: list[tuple[str, ...]], folder: Path) -> None:
    model = small_joint(*heads, adapters={"parts": True})
    for parameter in model.adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    del runs[:]
    wanted, found = model(photos()), fast(photos())
    check_same(wanted, found) if len(heads) > 1 else check_same({"parts": wanted}, {"parts": found})
    assert runs == [(name,) for name in heads], "a head with adapters has its own pass"


def test_what_is_not_accepted(folder: Path) -> None:
    fast = zoo.compile(small_joint(), "eager", "fp32", data=folder)
    with pytest.raises(UnknownNameError, match="head of the model"):
        fast(photos(), tasks=["species", "speices"])
    with pytest.raises(InputError, match="a prepared batch suits one way of preprocessing"):
        fast(fast.passes()[0].preprocess.batch(photos()))
    with pytest.raises(InputError, match="several heads"):
        fast.tensors(torch.zeros(1, 3, 64, 64))
    with pytest.raises(InputError, match="heads of a compiled model can't be changed"):
        zoo.split(fast, "parts")


# -- views -------------------------------------------------------------------------------------------------------------


def test_a_view_is_a_model_with_one_head(fake: type[Fake], tmp_path: Path, folder: Path) -> None:
    model = small_joint()
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    for each in (fast, zoo.load(zoo.save(fast, tmp_path / "saved"))):
        assert each.fingerprints == fingerprints(each) == fingerprints(model)
        for name, answer in model(photos()).items():
            view, own = each.view(name), model.view(name)
            check_same({name: answer}, {name: view(photos())})
            assert (view.task, view.classes, view.preprocess) == (own.task, own.classes, own.preprocess)
            assert view.metadata == own.metadata
            assert isinstance(view, Compiled)
            assert view.making.agreement == fast.making.agreement[name]
            assert model_fingerprint(view) == model_fingerprint(own)
            assert embedding_fingerprint(view) == embedding_fingerprint(own), "a gallery must accept both"
            assert view.view(view.task) is view
            with pytest.raises(UnknownNameError, match="unknown head of the model: 'other'"):
                each.view("other")
    with pytest.raises(InputError, match="'who' of a compiled model can't be saved alone"):
        zoo.save(fast.view("who"), tmp_path / "view")
    with pytest.raises(InputError, match="several heads"):
        embedding_fingerprint(model)


def test_scores_of_a_view_are_those_of_the_head(fake: type[Fake], folder: Path, truth: dict[str, str]) -> None:
    model = small_joint()
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    for name, data in truth.items():
        assert zoo.evaluate(fast.view(name), data, replicates=0).scores == zoo.evaluate(model.view(name), data, replicates=0).scores


# -- agreement ---------------------------------------------------------------------------------------------------------


def test_agreement_is_that_of_each_head(fake: type[Fake], truth: dict[str, str]) -> None:
    said: list[str] = []
    fast = zoo.compile(small_joint(), "fake", "fp32", data=truth, say=said.append)
    found = fast.making.agreement
    assert [*found] == [*KINDS]
    assert {name: (each.pictures, each.score) for name, each in found.items() if name != "who"} == {
        "species": (2, "top1"), "health": (2, None), "parts": (2, "AP")
    }  # fmt: skip
    assert found["who"].pictures > 2, "no head of its pass has data, so it is compared on built-in images"
    assert found["parts"].eager == found["parts"].compiled is not None
    assert "; health: 2 images: largest relative error" in said[-1]


@pytest.mark.parametrize(("axes", "head"), [(4, "parts"), (2, "species")])  # boxes have features [N, C, 7, 7], classes [N, C]
def test_the_head_that_disagrees_is_named(axes: int, head: str, fake: type[Fake], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Fake, converted: Any, precision: Any, threads: int) -> Runner:
        def run(inputs: Tensor) -> Any:
            first, *others = converted(inputs)
            wrong = inputs.ndim == axes and not isinstance(converted, FirstNetwork)
            return (-1e3 * first if wrong else first, *others)

        return run

    monkeypatch.setattr(fake, "start", start)
    with pytest.raises(DisagreementError, match=rf"the head '{head}' of the model compiled with engine fake, fp32, disagrees .* % of the"):
        zoo.compile(small_joint(), "fake", "fp32", data=folder)


@pytest.mark.parametrize("part", ["pictures-2", "parts-boxes"])
def test_a_network_that_an_engine_cannot_run_is_left_to_eager(part: str, fake: type[Fake], folder: Path) -> None:
    said: list[str] = []
    fake.refuses, model = (part,), small_joint()
    fast = zoo.compile(model, "fake", "fp32", data=folder, say=said.append)
    assert said[0] == f"the engine fake can't run the network {part!r}. This network runs in eager instead"
    check_same(model(photos()), fast(photos()))


def test_an_engine_that_can_run_nothing_is_refused(fake: type[Fake], folder: Path) -> None:
    fake.refuses = ("pictures", "pictures-2", "species-pooled", "health-pooled", "parts-boxes")
    with pytest.raises(InputError, match="can't run the network 'pictures'"):
        zoo.compile(small_joint(), "fake", "fp32", data=folder)


def test_the_quickest_engine_is_measured_over_all_passes(
    runs: list[tuple[str, ...]], fake: type[Fake], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.compilation.tuning.ENGINES", {"fake": fake, "eager": Eager})
    monkeypatch.setattr("zoo.compilation.tuning._ORDER", ())
    said: list[str] = []
    model = small_joint()
    fast = zoo.compile(model, "auto", "fp32", data=folder, batch_size=2, say=said.append)
    assert runs[-2:] == [SHARING, ("who",)]
    check_same(model(photos()), fast(photos()))
    assert any(line.startswith("engine fake, fp32: ") and "ms per batch of 2" in line for line in said)


# -- int8 --------------------------------------------------------------------------------------------------------------


def source(data: object) -> Source:
    return Source.of(small_joint(), data, "raise", print, Progress(enabled=False))


@pytest.mark.parametrize(("given", "counts"), [("one folder", (3, 3)), ("by head", (4, 3))])
def test_a_pass_is_calibrated_on_the_images_of_all_its_heads(
    given: str, counts: tuple[int, int], folder: Path, truth: dict[str, str]
) -> None:
    samples = source(folder if given == "one folder" else {**truth, "who": folder})._samples
    assert (len(samples["pictures"]), len(samples["pictures-2"])) == counts
    assert len(samples["species-pooled"]) == len(samples["parts-boxes"]) == counts[0]
    assert samples["pictures-2"][0][0].shape == (1, 3, 32, 32)


def test_each_pass_needs_images_for_calibration(fake: type[Fake], truth: dict[str, str]) -> None:
    with pytest.raises(InputError, match="int8 requires images for calibration, but data has none for who"):
        zoo.compile(small_joint(), "fake", "int8", data=truth)


def test_no_head_may_lose_more_than_its_tolerance(truth: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"species": 0.001, "parts": 0.01}
    scored: list[tuple[str, bool, tuple[int, ...]]] = []

    def score(images: Any, model: Model, numbers: Any) -> float:
        scored.append((images.task.name, model.compiled, tuple(numbers)))
        return 0.5 - (lost["species" if images.task.name == "classification" else "parts"] if model.compiled else 0)

    monkeypatch.setattr("zoo.compilation.images.HeadImages.score", score)
    made = source(truth)
    judge = made._judge("pictures")
    assert isinstance(judge, Judge)
    assert (judge.pictures, judge.drop) == (4, 1.0)
    tolerance = {name: made.heads[name].tolerance for name in lost}
    assert judge.score(lambda pixels: (pixels,), [0, 1, 2, 3]) == pytest.approx(-0.01 / tolerance["parts"])
    assert judge.score(lambda pixels: (pixels,), [1]) == pytest.approx(-0.001 / tolerance["species"])
    assert scored[-1] == ("classification", True, (1,))
    assert scored.count(("detection", False, (0, 1))) == 1
    alone = made._judge("parts-boxes")
    assert alone is not None
    assert (alone.pictures, alone.drop) == (2, tolerance["parts"])
    assert made._judge("health-pooled") is None, "without ground truth nothing can be scored"


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(fake: type[Fake], folder: Path, tmp_path: Path) -> Path:
    return zoo.save(zoo.compile(small_joint(), "fake", "fp32", data=folder), tmp_path / "saved")


def test_graphs_and_class_names_by_head(saved: Path) -> None:
    names = {path.name for path in saved.iterdir()}
    assert names == {
        "model.json", "pictures.fake", "pictures-2.fake", "species-pooled.fake", "health-pooled.fake", "parts-boxes.fake",
        "labels-species.txt", "labels-health.txt", "labels-parts.txt", "labels-who.txt",
    }  # fmt: skip
    assert (saved / "labels-health.txt").read_text() == "ill\nwell\nunknown\n"
    fast = zoo.load(saved)
    check_same(small_joint()(photos()), fast(photos()))
    zoo.save(fast, saved)  # replaces itself
    (saved / "labels-other.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains labels-other\.txt, which the zoo didn't write"):
        zoo.save(fast, saved)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda compiled: compiled["networks"][0].pop("outputs"), "no outputs of the network 'pictures' for the head 'species'"),
        (lambda compiled: compiled["networks"][0]["outputs"].pop("parts"), "no outputs of the network 'pictures' for the head 'parts'"),
        (lambda compiled: compiled["networks"][0].update(outputs={"parts": None}), "TypeError"),
        (lambda compiled: compiled["networks"].pop(1), "no network 'pictures-2'"),
        (lambda compiled: compiled["fingerprints"]["heads"].pop("who"), "KeyError: 'who'"),
        (lambda compiled: compiled["agreement"].pop("health"), "KeyError: 'health'"),
    ],
)
def test_a_description_that_cannot_be_right(change: Callable[[dict[str, Any]], object], reason: str, saved: Path) -> None:
    content = json.loads((saved / "model.json").read_text())
    change(content["compiled"])
    (saved / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"the entry 'compiled' is invalid \(.*{reason}.*export the model again"):
        zoo.load(saved)


class Eager(Fake):
    """Engine of unconverted modules that isn't registered."""

    name = "eager"

    def convert(self, network: Network) -> Any:
        return network.module


def test_a_compiled_model_of_one_named_head_is_called_like_any_model(fake: type[Fake], tmp_path: Path, folder: Path) -> None:
    model = small_joint("species", "parts")
    zoo.remove_task(model, "species")
    fast = zoo.compile(model, "fake", "fp32", data=folder)
    assert fake.converted == ["pictures", "boxes"]
    loaded = zoo.load(zoo.save(fast, tmp_path / "saved"))
    for each in (fast, loaded, fast.view("parts")):
        assert isinstance(each, Compiled)
        check_same({"parts": model(photos())}, {"parts": each(photos())})
    assert (tmp_path / "saved" / "labels.txt").is_file()
