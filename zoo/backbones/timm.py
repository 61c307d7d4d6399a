"""timm's models of the ResNet family, registered as backbones under their timm names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import timm
from timm.models.tresnet import TResNet
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import BACKBONES, UNKNOWN, Backbone, BackboneDefinition, Features, Level, Licence
from zoo.images.preprocess import Preprocess
from zoo.kernels.overrides import Activate, fusible

# timm's source modules that contain residual networks, and a pattern for the models that are ResNets
_MODULES = ("resnet", "resnetv2", "resnest", "res2net", "sknet", "senet", "byobnet", "nfnet", "tresnet", "cspnet")
_RESNET = re.compile(r"res2?ne(t|xt|st)|senet")
_UNFIT = re.compile(r"^bat_")  # its attention accepts only a few image sizes
# models whose head isn't average pooling and a linear layer: attention pooling (clip), a two-layer classifier (mlp)
HEAD_OF_OTHER_DESIGN = re.compile(r"_(clip|mlp)$")


class TimmBackbone(Backbone):
    """A timm model without its classifier."""

    def __init__(self, name: str) -> None:
        """Build a timm model by name, with fresh parameters."""
        super().__init__()
        self.net = timm.create_model(name, num_classes=0)
        if HEAD_OF_OTHER_DESIGN.search(name):
            self.net.head = nn.Identity()
        infos = self.net.feature_info
        infos = infos.info if hasattr(infos, "info") else infos
        self._stage_names = [str(info["module"]) for info in infos[1:]]
        # TResNet's stem moves blocks of 4×4 pixels to the channels
        self._multiple = 4 if isinstance(self.net, TResNet) else 1
        # timm's first feature is the stem; the four stages after it are conv2_x … conv5_x
        self.levels = tuple(Level(f"c{index}", info["num_chs"], info["reduction"]) for index, info in enumerate(infos[1:], start=2))

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the four stages. The deepest is the map that timm's classifier pools, which ResNetV2 normalises."""
        if self._multiple > 1:  # pad with the mean colour, at the right and bottom
            height, width = images.shape[2:]
            images = F.pad(images, (0, -width % self._multiple, 0, -height % self._multiple))
        final, intermediates = self.net.forward_intermediates(images)
        return {level.name: map_ for level, map_ in zip(self.levels, [*intermediates[1:-1], final], strict=True)}

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem (everything before the first stage), followed by the modules of each stage."""
        stem: list[nn.Module] = []
        parent: nn.Module = self.net
        for part in self._stage_names[0].split("."):
            names = [name for name, _ in parent.named_children()]
            stem += [parent.get_submodule(name) for name in names[: names.index(part)]]
            parent = parent.get_submodule(part)
        stages = [[self.net.get_submodule(name)] for name in self._stage_names]
        if self._stage_names[-1] == "final_conv":  # the fourth stage of these models ends in it
            stages[-1].insert(0, self.net.get_submodule("stages.3"))
        return [stem, *stages]


_ABSENT = ("drop_block", "aa", "se", "drop_path")


@fusible("timm.models.resnet.BasicBlock", {nn.BatchNorm2d: ("bn1", "bn2"), nn.ReLU: ("act1", "act2"), nn.Identity: _ABSENT})
def _basic_block(block: Any, x: Tensor, activate: Activate) -> Tensor:
    answer = block.conv2(activate(block.bn1, block.conv1(x)))
    return activate(block.bn2, answer, x if block.downsample is None else block.downsample(x))


@fusible(
    "timm.models.resnet.Bottleneck",
    {nn.BatchNorm2d: ("bn1", "bn2", "bn3"), nn.ReLU: ("act1", "act2", "act3"), nn.Identity: _ABSENT},
)
def _bottleneck(block: Any, x: Tensor, activate: Activate) -> Tensor:
    answer = activate(block.bn2, block.conv2(activate(block.bn1, block.conv1(x))))
    return activate(block.bn3, block.conv3(answer), x if block.downsample is None else block.downsample(x))


@fusible(f"{__name__}.TimmBackbone", {timm.models.ResNet: ("net",), nn.BatchNorm2d: ("net.bn1",), nn.ReLU: ("net.act1",)})
def _resnet(backbone: TimmBackbone, images: Tensor, activate: Activate) -> Features:
    net: Any = backbone.net
    if net.grad_checkpointing:
        return TimmBackbone.forward(backbone, images)
    return backbone.from_stem(net.maxpool(activate(net.bn1, net.conv1(images))))


def preprocess_of(config: Mapping[str, Any]) -> Preprocess:
    """Convert timm's `pretrained_cfg` to preprocessing settings."""
    return Preprocess(
        policy="squash" if config.get("crop_mode") == "squash" else "crop",
        size_hw=tuple(config["input_size"][1:]),
        crop_pct=config["crop_pct"],
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _default_preprocess(name: str) -> Preprocess:
    return preprocess_of(timm.get_pretrained_cfg(name).to_dict())


def _weights(name: str) -> tuple[str, ...]:
    return tuple(full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*") if "." in full)


def _load_weights(name: str, tag: str) -> tuple[Mapping[str, Any], Preprocess]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(f"{name}.{tag}", pretrained=True)
    return model.state_dict(), preprocess_of(model.pretrained_cfg)


_SPDX = {each.lower(): each for each in ("Apache-2.0", "BSD-3-Clause", "MIT", "CC-BY-NC-4.0")}


def _licence(name: str, tag: str) -> Licence:
    """Return the licence and the source that timm's pretrained configuration states."""
    config = timm.get_pretrained_cfg(f"{name}.{tag}")
    stated = config.license or UNKNOWN
    note = "timm states no licence for these weights" if stated == UNKNOWN else ""
    paper = config.paper_ids if isinstance(config.paper_ids, str) else ", ".join(config.paper_ids or ())
    hub = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else ""
    return Licence(tag, _SPDX.get(stated.lower(), stated), config.origin_url or hub or config.url or paper, note)


for _module in _MODULES:
    for _name in timm.list_models(module=_module):
        if _RESNET.search(_name) and not _UNFIT.search(_name):
            _definition = BackboneDefinition(
                name=_name,
                family=f"timm {_module}",
                create=partial(TimmBackbone, _name),
                preprocess=partial(_default_preprocess, _name),
                weights=partial(_weights, _name),
                load_weights=partial(_load_weights, _name),
                licence=partial(_licence, _name),
            )
            BACKBONES.add(_name, _definition)
