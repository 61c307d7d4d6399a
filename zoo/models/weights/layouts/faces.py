"""Key layouts of face networks: dlib's (with the keys of `dlib_file.read_dlib`), facenet-pytorch's, and InsightFace's (`backbone.pth`)."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping

from torch import Tensor

from zoo.backbones import BACKBONES, RESEARCH, Licence
from zoo.backbones.dlib_resnet import NAME as DLIB
from zoo.errors import WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.weights.layouts import LAYOUTS, Layout, State, Weights, backbone_shapes, split_prefix, without_net

_LAYER = re.compile(r"((?:con|affine)\d+)\.(weight|bias)")
_PLACES = 16  # stride of an IResNet's last feature map
_VGGFACE2 = 8631  # people in VGGFace2's training data, which are the classes of the weights "vggface2"
_INSIGHTFACE = Licence(
    "",
    RESEARCH,
    "https://github.com/deepinsight/insightface",
    "the file has InsightFace's layout, and InsightFace publishes weights for non-commercial research only; if the weights are your own, "
    "save the model with zoo.save and change the licence in model.json",
)


@functools.cache
def _dlib_names() -> dict[str, str]:
    """Return the names of the backbone's layers by those in the file, which numbers the layers of each kind in network order."""
    layers = [key.rpartition(".")[0] for key in backbone_shapes(DLIB) if key.endswith(".weight")]
    same = {kind: [name for name in layers if name.rpartition(".")[2].startswith(kind)] for kind in ("con", "affine")}
    return {f"{kind}{number}": name for kind, names in same.items() for number, name in enumerate(names, start=1)}


def _dlib_key(key: str) -> str:
    layer, _, parameter = key.rpartition(".")
    return next(f"{theirs}.{parameter}" for theirs, ours in _dlib_names().items() if ours == layer)


def _from_dlib(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    if missing := {"threshold", "mean", "size_hw", "fc.weight"} - state.keys():
        raise WeightsError(
            f"weights {origin}: the keys {', '.join(sorted(missing))} of dlib's face network are missing; pass dlib's .dat file"
        )
    names = _dlib_names()
    trunk: State = {}
    for key, value in state.items():
        if (layer := _LAYER.fullmatch(key)) is not None:
            trunk[f"{names[layer[1]]}.{layer[2]}" if layer[1] in names else key] = value
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
        published=BACKBONES[backbone].licence("vggface2") if people == _VGGFACE2 else None,
        note=f"skipped the classifier of the {people:,} people in the training data (logits)" if people else "",
    )


def _from_insightface(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    head, trunk = _renamed_head(state, {"bn2": "bn", "fc": "fc", "features": "norm"})
    if not head:
        return Weights(origin, trunk, published=_INSIGHTFACE)
    if not {"fc.weight", "norm.weight", "bn.weight"} <= set(head):
        raise WeightsError(
            f"weights {origin}: only some of the final layers bn2, fc and features of an IResNet are present: {', '.join(head)}"
        )
    size, inputs = head["fc.weight"].shape
    side = _PLACES * math.isqrt(inputs // len(head["bn.weight"]))
    options = {"neck": "flat", "embedding_size": size, "image_size": side, "alignment": "arcface", "distance": "cosine"}
    return Weights(origin, trunk, head, "face", options=options, published=_INSIGHTFACE)


LAYOUTS.add("dlib", Layout("dlib's face network", "dlib face ResNet", _dlib_key, _from_dlib))
LAYOUTS.add("facenet_pytorch", Layout("facenet-pytorch InceptionResnetV1", "facenet-pytorch", without_net, _from_facenet))
LAYOUTS.add("insightface", Layout("InsightFace IResNet", "InsightFace IResNet", str, _from_insightface))
