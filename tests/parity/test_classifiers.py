"""Parity of classifiers with torchvision and timm, from weights that these libraries saved in their own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import zoo
from tests.foreign import randomise

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def pictures(size: int = 96) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(3))


def torchvision_model(name: str) -> nn.Module:
    torch.manual_seed(1)
    return randomise(torchvision.models.get_model(name, weights=None, num_classes=7))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_classifier(name: str, tmp_path: Path) -> None:
    theirs = torchvision_model(name)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = zoo.build(name, weights=tmp_path / "weights.pth")
    images = pictures()
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs((images - MEAN) / STD), rtol=1e-5, atol=1e-5)
    assert ours.classes == tuple("0123456")


@pytest.mark.parametrize(
    "name",
    [
        "resnet26d",
        "resnext50_32x4d",
        "resnetv2_50",
        "seresnet18",
        "res2net50d",
        "resnest14d",
        "resnet33ts",
        "legacy_seresnet18",
        "cspresnet50",
        "tresnet_m",
    ],
)
def test_timm_classifier(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = randomise(timm.create_model(name, num_classes=5))
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "weights.safetensors")
    ours = zoo.build(name, weights=tmp_path / "weights.safetensors")
    config: Any = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images = pictures()
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs((images - mean) / std), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet50_clip", "resnet50_mlp"])
def test_trunks_with_another_head(name: str, tmp_path: Path) -> None:
    """The backbone is timm's; its attention pooling or two-layer head is skipped, which is reported."""
    torch.manual_seed(1)
    theirs = randomise(timm.create_model(name)).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    said: list[str] = []
    ours = zoo.build(name, num_classes=3, weights=tmp_path / "weights.pth", say=said.append)
    assert "entries of its head (attention pooling or two layers), which the zoo doesn't have" in said[0]
    assert said[1].endswith("loaded into the backbone; the classification head is newly initialised")
    config: Any = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert (ours.preprocess.mean, ours.preprocess.std) == (tuple(config["mean"]), tuple(config["std"]))
    images = (pictures(64) - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(ours.backbone(images)["c5"], theirs.forward_features(images), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


def test_uint8_and_float_pictures_answer_alike(tmp_path: Path) -> None:
    model = zoo.build("resnet20", num_classes=4)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images / 255))


def test_preprocessing_equals_timms_own(shared_data: Path) -> None:
    model = zoo.build("resnet50", num_classes=3)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(timm.get_pretrained_cfg("resnet50").to_dict()))
    for path in sorted((shared_data / "photos").glob("*.JPEG"))[:4]:
        with Image.open(path) as image:
            theirs = transform(image.convert("RGB"))
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        ours = (model.preprocess(pixels.permute(2, 0, 1)).float() / 255 - MEAN[0]) / STD[0]
        # PIL and torch both resize in uint8, and their rounding may differ by one level
        assert (ours - theirs).abs().max() < 1.01 / 255 / 0.224
        assert (ours - theirs).abs().mean() < 0.1 / 255 / 0.224
