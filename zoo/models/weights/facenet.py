"""Key layout of facenet-pytorch's InceptionResnetV1: the backbone's names, `last_linear`, `last_bn`, and the classifier `logits`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from zoo.backbones import BACKBONES
from zoo.models.weights import LAYOUTS, Layout, State, Weights, split_prefix

_FAMILY = "facenet-pytorch"
_HEAD = {"last_linear": "fc", "last_bn": "norm"}  # key prefixes: facenet-pytorch's to the zoo head's


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return backbone in BACKBONES and BACKBONES[backbone].family == _FAMILY and "mixed_6a.branch0.conv.weight" in state


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    logits, trunk = split_prefix(state, "logits.")
    head: State = {}
    for theirs, ours in _HEAD.items():
        inside, trunk = split_prefix(trunk, f"{theirs}.")
        head |= {f"{ours}.{key}": value for key, value in inside.items()}
    net = {f"net.{key}": value for key, value in trunk.items()}
    people = len(logits["weight"]) if "weight" in logits else 0
    return Weights(
        origin,
        net,
        head,
        "face" if head else "",
        options={
            "neck": "facenet",
            "embedding_size": len(head["fc.weight"]),
            "alignment": "facenet",
            "distance": "cosine",
            "dropout": 0.6,
        } if "fc.weight" in head else {},
        note=f"skipped the classifier of the {people:,} people in the training data (logits)" if people else "",
    )  # fmt: skip


LAYOUTS.add("facenet_pytorch", Layout("facenet-pytorch InceptionResnetV1", _recognise, _convert))
