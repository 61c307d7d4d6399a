"""Key layout of dlib's face network, with the layer names of `dlib_file.read_dlib`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.images.preprocess import Preprocess
from zoo.models.weights import LAYOUTS, Layout, State, Weights

_FAMILY = "dlib face ResNet"
_LAYER = re.compile(r"(con|affine)(\d+)\.(weight|bias)")


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return backbone in BACKBONES and BACKBONES[backbone].family == _FAMILY and {"affine1.weight", "threshold", "mean"} <= set(state)


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    with torch.device("meta"):
        modules = [name for name, _ in BACKBONES[backbone].create().named_modules()]
    # the file numbers the layers of each kind in network order, as in the backbone; dlib calls a convolution "con"
    names = {kind: [name for name in modules if name.rpartition(".")[2].startswith(kind)] for kind in ("con", "affine")}
    trunk: State = {}
    for key, value in state.items():
        if (layer := _LAYER.fullmatch(key)) is not None:
            same, number = names[layer[1]], int(layer[2])
            trunk[f"{same[number - 1]}.{layer[3]}" if number <= len(same) else key] = value
    height, width = state["size_hw"].tolist()
    # rounded to the shortest decimals, 122.782 instead of 122.78199768: the values in dlib's source
    red, green, blue = (float(str(level)) / 255 for level in state["mean"].float().numpy())
    return Weights(
        origin,
        trunk,
        {"fc.weight": state["fc.weight"]},
        "face",
        preprocess=Preprocess("squash", (height, width), mean=(red, green, blue), std=(256 / 255,) * 3),
        options={
            "neck": "dlib",
            "embedding_size": len(state["fc.weight"]),
            "image_size": height,
            "alignment": "dlib",
            "distance": "euclidean",
        },
        metadata={"threshold": round(float(state["threshold"]), 6)},
    )


LAYOUTS.add("dlib", Layout("dlib's face network", _recognise, _convert))
