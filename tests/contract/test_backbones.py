"""Contract of every backbone in the registry: declared levels are the real ones, and every parameter gets a gradient."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from zoo.backbones import BACKBONES, Backbone, Features, Level, list_backbones
from zoo.errors import UnknownNameError

# one small backbone of every source, for tests that compute real values
SMALL = [
    "resnet20",
    "test_resnet",
    "resnet10t",
    "resnetv2_18",
    "resnest14d",
    "skresnet18",
    "legacy_seresnet18",
    "resnext26ts",
    "nf_resnet26",
]
SMALL += [
    "cspresnet50",
    "resnet50_clip",
    "resnet50_mlp",
    "tresnet_m",
    "res2net50_48w_2s",
    "iresnet18",
    "inception_resnet_v1",
    "dlib_resnet29",
]


def check_levels(backbone: Backbone, features: Features, size: int) -> list[str]:
    """Return the differences between the declared levels and the features of a square image."""
    faults = []
    if list(features) != [level.name for level in backbone.levels]:
        faults.append(f"names {list(features)}")
    for level, feature in zip(backbone.levels, features.values(), strict=False):
        side = level.places(size)
        if feature.shape[1:] != (level.channels, side, side):
            faults.append(f"{level.name} is {tuple(feature.shape[1:])}, declared {level.channels} channels at stride {level.stride}")
    strides = [level.stride for level in backbone.levels]
    if strides != sorted(strides):
        faults.append(f"strides {strides} are not deepest last")
    return faults


def without_gradient(backbone: nn.Module, output: Tensor) -> list[str]:
    """Return the names of the parameters that no gradient of the output reaches.

    The graph is followed instead of computing gradients, which takes ten times as long.
    """
    reached, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            reached.add(id(getattr(node, "variable", None)))
            waiting += [following for following, _ in node.next_functions]
    return [name for name, parameter in backbone.named_parameters() if parameter.requires_grad and id(parameter) not in reached]


def small_size(name: str) -> int:
    """Return the image side for a run on the meta device: a multiple of 32 that every backbone accepts."""
    return 32 if name in {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110"} else 128


def scaled(
    values: Tensor,
    mean: object,
    variance: object,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *args: object,
    **options: object,
) -> Tensor:
    """Batch norm for shapes and gradients alone: torch's takes three quarters of a pass on the meta device."""
    for parameter, join in ((weight, torch.mul), (bias, torch.add)):
        values = values if parameter is None else join(values, parameter.reshape(1, -1, *[1] * (values.ndim - 2)))
    return values


@pytest.mark.slow
@pytest.mark.parametrize("name", list_backbones())
def test_every_backbone_keeps_the_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "batch_norm", scaled)
    size = small_size(name)
    with torch.device("meta"):
        backbone = BACKBONES[name].create().train()
        images = torch.empty(2, 3, size, size)
    features = backbone(images)
    assert check_levels(backbone, features, size) == []
    assert without_gradient(backbone, features[backbone.levels[-1].name]) == []
    assert BACKBONES[name].levels == backbone.levels
    stages = backbone.stages()
    assert len(stages) == len(backbone.levels) + 1
    assert all(isinstance(module, nn.Module) for stage in stages for module in stage)


@pytest.mark.parametrize("name", SMALL)
def test_small_backbones_run_for_real(name: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name].create().eval()
    size = max(64, backbone.levels[-1].field)
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, size, size))
    assert check_levels(backbone, features, size) == []
    assert all(bool(feature.isfinite().all()) for feature in features.values())


def test_the_check_sees_a_wrong_declaration() -> None:
    backbone = BACKBONES["resnet20"].create()
    features = backbone(torch.zeros(2, 3, 32, 32))
    features["c4"] = features["c3"]
    assert check_levels(backbone, features, 32) == ["c4 is (32, 16, 16), declared 64 channels at stride 4"]


@pytest.mark.parametrize("name", ["inception_resnet_v1", "dlib_resnet29"])
def test_a_trunk_that_does_not_pad_says_what_it_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declared field is the smallest image side, and the sizes of the levels are exact for every image size."""
    monkeypatch.setattr(torch.nn.functional, "batch_norm", scaled)
    backbone = BACKBONES[name].create().eval().to("meta")
    least = backbone.levels[-1].field
    for size in range(least, least + 32):  # one period of the largest stride
        assert check_levels(backbone, backbone(torch.empty(1, 3, size, size, device="meta")), size) == []
    with pytest.raises(RuntimeError):
        backbone(torch.empty(1, 3, least - 1, least - 1, device="meta"))


@pytest.mark.parametrize(("name", "sizes"), [("tresnet_m", [33, 34, 35, 66]), ("cspresnet50", [33, 97])])
def test_images_of_any_size(name: str, sizes: Iterable[int]) -> None:
    """TResNet's stem needs sides that are multiples of 4, to which its images are padded."""
    backbone = BACKBONES[name].create().eval().to("meta")
    for size in sizes:
        assert check_levels(backbone, backbone(torch.empty(1, 3, size, size, device="meta")), size) == []


@pytest.mark.parametrize(
    "name", ["resnet50_clip", "resnext26ts", "nf_resnet26", "tresnet_m", "cspresnet50", "resnet18", "legacy_seresnet18", "res2net50d"]
)
def test_stages_cover_the_backbone(name: str) -> None:
    """Every parameter belongs to the stem or to one stage, so that freezing the last stage freezes all layers before the head."""
    with torch.device("meta"):
        backbone = BACKBONES[name].create()
    inside = [id(parameter) for stage in backbone.stages() for module in stage for parameter in module.parameters()]
    assert sorted(inside) == sorted(map(id, backbone.parameters()))
    assert all(stage for stage in backbone.stages())


def test_a_padded_trunk_covers_the_picture() -> None:
    assert [Level("c5", 8, 32).places(side) for side in (1, 32, 33, 224)] == [1, 1, 2, 7]


def test_the_families_are_there() -> None:
    names = list_backbones()
    assert len(names) > 120
    for name in ["resnet50", "resnetv2_50", "resnext50_32x4d", "wide_resnet50_2", "seresnet50", "ecaresnet50d", "resnest50d", "resnetrs50"]:
        assert name in names
    assert list_backbones("resnet5[06]") == ["resnet50", "resnet56"]
    assert {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "res2net50_26w_4s"} <= set(names)
    clip = {f"resnet{size}_clip" for size in ("50", "101", "50x4", "50x16", "50x64")}
    assert {"resnet50_mlp", "tresnet_m", "tresnet_l", "tresnet_xl", "tresnet_v2_l", "cspresnet50", "cspresnext50", *clip} <= set(names)
    assert len([name for name in names if name.startswith("nf_")]) == 9
    assert {"iresnet18", "iresnet34", "iresnet50", "iresnet100", "inception_resnet_v1", "dlib_resnet29"} <= set(names)


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'resnet5O'\. Nearest: .*resnet50.*zoo list"):
        BACKBONES["resnet5O"]


@pytest.mark.parametrize(("depth", "parameters"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_cifar_resnets_have_the_papers_size(depth: int, parameters: float) -> None:
    """He et al. 2015, table 6: millions of parameters, including the classifier."""
    backbone = BACKBONES[f"resnet{depth}"].create()
    count = sum(parameter.numel() for parameter in backbone.parameters()) + 64 * 10 + 10
    assert round(count / 1e6, 2 if parameters < 1 else 1) == parameters
    weighted = sum(isinstance(module, nn.Conv2d) for module in backbone.modules()) + 1
    assert weighted == depth
