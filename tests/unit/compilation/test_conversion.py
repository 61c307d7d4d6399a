"""Conversion of networks: only once each, fallback to eager, and caches that can't be used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.engines import Fake, fake, small_model
from tests.pictures import write_picture
from zoo.engines import Network
from zoo.errors import InputError
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.system.cache import cache_folder
from zoo.system.logs import errors_alone

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["fake"]
_OTHER_SIZES = ((33, 47), (64, 32), (20, 90), (32, 31), (100, 101), (24, 24))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def check_padded(fast: Compiled) -> None:
    """Check a compiled detector against the model; padded images have sides that are multiples of 32."""
    check(small_model("detection"), fast, [(32 * height, 32 * width) for height, width in ((2, 3), (3, 2), (1, 5), (4, 4))])


def check_sizes(model: Model, fast: Compiled) -> None:
    check(model, fast, _OTHER_SIZES)


def check(model: Model, fast: Compiled, sizes: Sequence[tuple[int, int]]) -> None:
    for place, (height, width) in enumerate(sizes):
        pixels = torch.rand(1 + place % 3, 3, height, width, generator=torch.Generator().manual_seed(place))
        with torch.inference_mode():
            for wanted, found in zip(model.head.tensors(model.levels(pixels)), fast.tensors(pixels), strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_networks_are_converted_once(fake: type[Fake]) -> None:
    model = small_model("detection")
    zoo.compile(model, engine="fake")
    assert fake.converted == ["pictures", "boxes"]
    zoo.compile(model, engine="fake")
    assert fake.converted == ["pictures", "boxes"], "the cache was not used"
    zoo.compile(small_model("detection", seed=1), engine="fake")
    assert fake.converted == ["pictures", "boxes"] * 2, "the second model got the cached networks of the first"


def test_a_network_is_converted_once_for_all_precisions(fake: type[Fake], tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.png", np.full((32, 32, 3), 90, np.uint8))
    for precision in ("int8", "fp32", "int8"):
        zoo.compile(small_model("classification"), engine="fake", precision=precision, data=tmp_path / "pictures")
        assert fake.converted == ["pictures"]


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone", "list damaged"])
def test_a_damaged_cache_entry_is_replaced(damage: str, fake: type[Fake]) -> None:
    model = small_model("classification")
    zoo.compile(model, engine="fake")
    (file,) = cache_folder("networks").glob("*.fake")
    content = file.read_bytes()
    if damage == "cut short":
        file.write_bytes(content[:100])
    elif damage == "changed":
        file.write_bytes(content[:-200] + bytes([content[-200] ^ 1]) + content[-199:])
    elif damage == "gone":
        file.unlink()
    else:
        file.with_suffix(".json").write_text("{")
    zoo.compile(model, engine="fake")
    assert fake.converted == ["pictures"] * 2
    assert file.read_bytes() == content
    assert [path.name for path in cache_folder("networks").iterdir() if path.name.startswith(".")] == []


def test_without_room_for_the_cache_it_works(fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))  # a file: no folder can be created in it
    zoo.compile(small_model("classification"), engine="fake")
    zoo.compile(small_model("classification"), engine="fake")
    assert fake.converted == ["pictures"] * 2


def test_what_an_engine_runs_into_is_told() -> None:
    class Stubborn(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (pixels + float(pixels.sum()),)

    network = Network("pictures", Stubborn(), (torch.zeros(2, 3, 8, 8),), ((0,),))
    with pytest.raises(InputError, match=r"the network 'pictures' can't be exported \(.*\); use engine='eager'"):
        network.exported()


@pytest.mark.parametrize("part", ["pictures", "boxes"])
def test_a_part_that_an_engine_cannot_take_is_left_to_eager(
    part: str, fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fake.refuses = (part,)
    monkeypatch.setattr(fake, "takes_bytes", part == "pictures")  # then eager gets uint8 images
    fast = zoo.compile(small_model("detection"), engine="fake", say=said.append)
    assert said[0] == f"the engine fake can't run the network {part!r}. This network runs in eager instead"
    assert fast.making.engine == "fake"
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    for taken, given in zip(fast.tensors(pixels), fast.tensors(pixels.float() / 255), strict=True):
        assert torch.equal(taken, given)
    with pytest.raises(InputError, match=f"can't run the network {part!r}"):
        zoo.save(fast, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_engine_that_can_take_nothing_is_refused(fake: type[Fake]) -> None:
    fake.refuses = ("pictures", "boxes")
    with pytest.raises(InputError, match="can't run the network 'pictures'"):
        zoo.compile(small_model("detection"), engine="fake")


def test_pictures_of_all_other_sizes_have_one_graph(fake: type[Fake]) -> None:
    model = small_model("classification")
    fast = zoo.compile(model, engine="fake")
    assert fake.converted == ["pictures"], "until an image of another size comes, the graph for the model's own size is enough"
    check_sizes(model, fast)
    assert fake.converted == ["pictures"] * 2


@pytest.mark.parametrize("where", ["other size", "odd height", "odd width", "last number"])
def test_a_graph_that_holds_for_some_sizes_alone_is_left_to_eager(where: str, fake: type[Fake]) -> None:
    said: list[str] = []
    fake.baked = where
    model = small_model("classification")
    fast = zoo.compile(model, engine="fake", say=said.append)
    assert len(said) == 1, "the graph for the model's own size is right"
    check_sizes(model, fast)
    assert len(said) == 2
    assert said[1].startswith("the engine fake computes the network 'pictures' incorrectly for image sizes other than that of the export")
    assert said[1].endswith("This network runs in eager instead")


@pytest.mark.parametrize("where", ["other size", "last number"])
def test_so_is_a_detectors(where: str, fake: type[Fake]) -> None:
    said: list[str] = []
    fake.baked = where
    check_padded(zoo.compile(small_model("detection"), engine="fake", say=said.append))
    assert "incorrectly for image sizes other than" in said[0]


def test_a_graph_that_fails_at_another_size_is_left_to_eager(fake: type[Fake]) -> None:
    said: list[str] = []
    fake.baked, fake.fails = "other size", "there is no kernel for this"
    check_padded(zoo.compile(small_model("detection"), engine="fake", say=said.append))
    assert said[0].startswith("the engine fake can't run the network 'pictures' (RuntimeError: there is no kernel for this)")


def test_pictures_that_a_graph_fails_at_are_left_to_eager_one_by_one(fake: type[Fake]) -> None:
    said: list[str] = []
    fake.baked, fake.fails = "small", "the kernel is larger than the map"
    model = small_model("classification")
    fast = zoo.compile(model, engine="fake", say=said.append)
    for size in ((16, 18), (48, 40), (16, 18), (12, 90)):
        pixels = torch.rand(1, 3, *size)
        torch.testing.assert_close(fast(pixels), model(pixels).detach())
    assert said[1:] == [
        "the engine fake can't run 'pictures' on inputs of shape (1, 3, 16, 18) (RuntimeError: the kernel is larger than the map). "
        "Such inputs run in eager instead"
    ]


def test_sizes_that_the_trunk_cannot_take_are_refused_and_say_nothing_of_a_graph(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    model = small_model("classification")
    levels = Model.levels

    def even(model: Model, pixels: torch.Tensor) -> Any:
        if pixels.shape[2] % 2:
            raise RuntimeError("The size of tensor a (9) must match the size of tensor b (8)")
        return levels(model, pixels)

    monkeypatch.setattr(Model, "levels", even)
    fast = zoo.compile(model, engine="fake", say=said.append)
    fast(torch.zeros(1, 3, 48, 40))
    assert len(said) == 1
    assert fake.converted == ["pictures"] * 2
    with pytest.raises(
        InputError,
        match=r"resnet8 doesn't support images of 33×40 pixels \(RuntimeError: The size .*\); use sides that are multiples of 32",
    ):
        fast(torch.zeros(1, 3, 33, 40))


def test_a_trunk_that_takes_any_size_is_not_asked_about_each(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = zoo.compile(small_model("classification"), engine="fake")
    fast(torch.zeros(1, 3, 33, 47))
    asked, levels = list[tuple[int, ...]](), Model.levels

    def noted(model: Model, pixels: torch.Tensor, way: Any = None) -> Any:
        asked.append(tuple(pixels.shape))
        return levels(model, pixels, way)

    monkeypatch.setattr(Model, "levels", noted)
    fast(torch.zeros(2, 3, 61, 40))
    assert asked == [], "only the graph may run"


@pytest.mark.parametrize("size", [(64, 48), (33, 70)])
def test_engines_do_not_answer_where_the_model_does_not(size: tuple[int, int]) -> None:
    model = zoo.build("resnetaa34d", classes=["cat", "dog"], image_size=64)
    pixels = torch.zeros(1, 3, *size)
    with pytest.raises(RuntimeError, match=r"shape|size"):
        model(pixels)
    with pytest.raises(InputError, match=f"the backbone resnetaa34d doesn't support images of {size[0]}×{size[1]} pixels"):
        zoo.compile(model, engine="eager")(pixels)


def test_what_keeps_a_logger_quiet_may_overlap() -> None:
    logger = logging.getLogger("zoo.tests.loud")
    logger.setLevel(logging.INFO)
    first, second = errors_alone(logger.name), errors_alone(logger.name)
    for entered in (first, second):
        entered.__enter__()
    first.__exit__(None, None, None)
    assert logger.level == logging.ERROR
    second.__exit__(None, None, None)
    assert logger.level == logging.INFO
