"""Key layouts of face networks: dlib's (with the keys of `dlib_file.read_dlib`), facenet-pytorch's, and InsightFace's (`backbone.pth`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.weights.layouts import LAYOUTS, Layout, State, Weights, recognises, split_prefix

_LAYER = re.compile(r"(con|affine)(\d+)\.(weight|bias)")
_PLACES = 16  # stride of an IResNet's last feature map


def _from_dlib(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    with torch.device("meta"):
        modules = [name for name, _ in BACKBONES[backbone].create().named_modules()]
    # the file numbers the layers of each kind in network order, which is also the order in the backbone; "con" is dlib's convolution
    names = {kind: [name for name in modules if name.rpartition(".")[2].startswith(kind)] for kind in ("con", "affine")}
    trunk: State = {}
    for key, value in state.items():
        if (layer := _LAYER.fullmatch(key)) is not None:
            same, number = names[layer[1]], int(layer[2])
            trunk[f"{same[number - 1]}.{layer[3]}" if number <= len(same) else key] = value
    height, width = state["size_hw"].tolist()
    # rounding to the shortest decimals (122.782 instead of 122.78199768) restores the values in dlib's source
    red, green, blue = (float(str(level)) / 255 for level in state["mean"].float().numpy())
    size = len(state["fc.weight"])
    return Weights(
        origin,
        trunk,
        {"fc.weight": state["fc.weight"]},
        "face",
        preprocess=Preprocess("squash", (height, width), mean=(red, green, blue), std=(256 / 255,) * 3),
        options={"neck": "dlib", "embedding_size": size, "image_size": height, "alignment": "dlib", "distance": "euclidean"},
        metadata={"threshold": round(float(state["threshold"]), 6)},
    )


def _renamed_head(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[State, State]:
    """Return the entries of the head with the zoo's names, and all other entries. `names` maps the head's layers to the zoo's names."""
    head: State = {}
    rest = dict(state)
    for theirs, ours in names.items():
        inside, rest = split_prefix(rest, f"{theirs}.")
        head |= {f"{ours}.{key}": value for key, value in inside.items()}
    return head, rest


def _from_facenet(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    logits, trunk = split_prefix(state, "logits.")
    head, trunk = _renamed_head(trunk, {"last_linear": "fc", "last_bn": "norm"})
    options: dict[str, object] = {}
    if "fc.weight" in head:
        size = len(head["fc.weight"])
        options = {"neck": "facenet", "embedding_size": size, "alignment": "facenet", "distance": "cosine", "dropout": 0.6}
    people = len(logits["weight"]) if "weight" in logits else 0
    return Weights(
        origin,
        {f"net.{key}": value for key, value in trunk.items()},
        head,
        "face" if head else "",
        options=options,
        note=f"skipped the classifier of the {people:,} people in the training data (logits)" if people else "",
    )


def _from_insightface(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    head, trunk = _renamed_head(state, {"bn2": "bn", "fc": "fc", "features": "norm"})
    if not head:
        return Weights(origin, trunk)
    if not {"fc.weight", "norm.weight", "bn.weight"} <= set(head):
        raise WeightsError(
            f"weights {origin}: only some of the final layers bn2, fc and features of an IResNet are present: {', '.join(head)}"
        )
    size, inputs = head["fc.weight"].shape
    side = _PLACES * math.isqrt(inputs // len(head["bn.weight"]))
    options = {"neck": "flat", "embedding_size": size, "image_size": side, "alignment": "arcface", "distance": "cosine"}
    return Weights(origin, trunk, head, "face", options=options)


LAYOUTS.add("dlib", Layout("dlib's face network", recognises("dlib face ResNet", "affine1.weight", "threshold", "mean"), _from_dlib))
LAYOUTS.add(
    "facenet_pytorch",
    Layout("facenet-pytorch InceptionResnetV1", recognises("facenet-pytorch", "mixed_6a.branch0.conv.weight"), _from_facenet),
)
LAYOUTS.add("insightface", Layout("InsightFace IResNet", recognises("InsightFace IResNet", "layer1.0.prelu.weight"), _from_insightface))
