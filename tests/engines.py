"""Engines for tests, among them a fake one, and models small enough for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import zoo
from zoo.backbones import BACKBONES, BackboneDefinition
from zoo.backbones.cifar import CifarResNet
from zoo.engines import ENGINES, Engine, Judge, Network, Runner, Tensors
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.system.precision import EnginePrecision


def _where_installed(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(ENGINES[name].missing() is not None, reason=str(ENGINES[name].missing())))


INSTALLED = [_where_installed(name) for name in ENGINES if name != "eager"]
KEEPING = [_where_installed(name) for name in ("openvino", "onnxruntime")]  # convert networks to their own format; the others use torch's

# one block per stage instead of three as in resnet20: the same operations, but engines convert and compile it in half the time
_PREPROCESS = partial(Preprocess, policy="crop", size_hw=(32, 32), crop_pct=1.0)
BACKBONES.add("resnet8", BackboneDefinition("resnet8", "CIFAR ResNet", partial(CifarResNet, 8), _PREPROCESS))

KINDS = {"species": "classification", "health": "classification", "parts": "detection", "who": "face"}
CLASSES = {"species": ["cat", "dog"], "health": ["ill", "well", "unknown"], "parts": ["ear", "tail"]}
SHARING = ("species", "health", "parts")  # the heads of the first pass


@cache
def small_model(task: str, seed: int = 4) -> Model:
    """Return a model of 0.1 million parameters; it is shared by all callers, which must not change it.

    With the default seed, the classifier doesn't answer the same class for every image.
    """
    torch.manual_seed(seed)
    options: dict[str, Any] = {"detection": {"image_size": 64, "max_image_size": 96, "fpn_channels": 16, "proposals": 40}}.get(task, {})
    if task == "face":
        options = {"image_size": 32, "embedding_size": 16}
    classes = None if task == "face" else ["cat", "dog", "eel"]
    model = zoo.build("resnet8", task=task, classes=classes, **options)
    for module in model.modules():  # statistics as in a trained network, so that activations neither vanish nor explode
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model.eval()


def small_joint(*heads: str, **options: Any) -> Model:
    """Return a model with these heads of `KINDS`, by default all. Those named in `SHARING` share a pass through the backbone."""
    torch.manual_seed(0)
    return zoo.build(
        "test_resnet", {name: KINDS[name] for name in heads or KINDS}, classes={name: CLASSES.get(name) for name in heads or KINDS},
        score_threshold=0.0, fpn_channels=16, representation_size=16, proposals=20, pre_nms_proposals=20,
        **({"image_size": {"parts": 64, "who": 32}, "embedding_size": 8} if not heads or "who" in heads else {"image_size": 64}), **options,
    )  # fmt: skip


def photos() -> list[torch.Tensor]:
    """Return images of two sizes."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((60, 90), (100, 50))]


def check_same(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Check that the predictions of a model with several heads equal those of another up to rounding."""
    assert [*found] == [*wanted]
    for name, answer in wanted.items():
        for want, have in zip(answer, found[name], strict=True):
            for key in want if isinstance(want, dict) else ():
                torch.testing.assert_close(have[key], want[key], atol=1e-4, rtol=1e-4)
            if isinstance(want, torch.Tensor):
                torch.testing.assert_close(have, want, atol=1e-5, rtol=1e-4)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """Register a fake engine whose settings a test may change."""

    class Own(Fake):
        """Subclass whose class attributes belong to one test."""

        converted: ClassVar[list[str]] = []

    monkeypatch.setitem(ENGINES._definitions, "fake", Own)
    return Own


class Fake(Engine):
    """Fake engine: the eager module with defects that a test sets.

    Attributes:
        offset: number added to every output.
        ms: milliseconds per batch that tests of `engine="auto"` let the clock show; nothing is measured.
        refuses: names of the networks that it refuses to convert.
        pip: what `missing` returns.
        reverses: whether outputs are reversed along axis 1.
        baked: where the graph of "pictures" is wrong, as `where` of `Baked`; "" for a correct graph.
        fails: error that this graph raises there, as `fails` of `Baked`.
        converted: names of the networks converted so far.
    """

    name = "fake"
    suffix = ".fake"
    seconds = 0.0
    precisions: ClassVar[tuple[EnginePrecision, ...]] = ("fp32", "bf16", "int8")
    offset: ClassVar[float] = 0.0
    ms: ClassVar[float] = 10.0
    refuses: ClassVar[tuple[str, ...]] = ()
    pip: ClassVar[str | None] = None
    reverses: ClassVar[bool] = False
    baked: ClassVar[str] = ""
    fails: ClassVar[str] = ""
    converted: ClassVar[list[str]] = []

    @classmethod
    def missing(cls) -> str | None:
        return cls.pip

    def convert(self, network: Network) -> Any:
        if network.name in self.refuses:
            raise InputError(f"the engine fake can't run the network {network.name!r}")
        self.converted.append(network.name)
        return Baked(network, self.baked, self.fails) if self.baked and network.name == "pictures" else network.module

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        return converted

    def write(self, converted: Any, path: Path) -> None:
        torch.save(converted, path)

    def read(self, path: Path) -> Any:
        return torch.load(path, weights_only=False)

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        def run(*inputs: torch.Tensor) -> Tensors:
            found: Tensors = converted(*inputs)
            return tuple((each.flip(1) if self.reverses else each) + self.offset for each in found)

        return run


class Baked(torch.nn.Module):
    """Graph that is specialised to the size of its export: at other image sizes it is wrong, or raises an error.

    Args:
        network: network that the graph computes.
        where: images for which it is wrong: "other size" than that of the export, "odd height", "odd width" or "small"; "last number" is
            "other size", but only the last output is wrong, namely NaN.
        fails: message of the RuntimeError that it raises there; "" to return wrong outputs.
    """

    def __init__(self, network: Network, where: str, fails: str) -> None:
        super().__init__()
        self.module, self.size, self.where, self.fails = network.module, network.example[0].shape[2:], where, fails

    def forward(self, pixels: torch.Tensor) -> Tensors:
        height, width = pixels.shape[2:]
        others = {"odd height": bool(height % 2), "odd width": bool(width % 2), "small": min(height, width) < 20}
        other = others.get(self.where, pixels.shape[2:] != self.size)
        if other and self.fails:
            raise RuntimeError(self.fails)
        *first, last = self.module(pixels)
        if self.where == "last number":
            return (*first, last * float("nan") if other else last)
        return tuple(each + float(other) for each in (*first, last))
