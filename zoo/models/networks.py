"""The networks of a model that an engine runs: one for each pass through the backbone, and further networks of its heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engines import Tensors
from zoo.models.adapters import Adapters
from zoo.models.config import ModelConfig
from zoo.models.model import Model
from zoo.models.passes import Pass
from zoo.task.head import Head, HeadNetwork

PICTURES = "pictures"  # name of the network of backbone and heads


def first_networks(config: ModelConfig) -> dict[str, Pass]:
    """Return the passes through the backbone by the names of their networks: "pictures", "pictures-2", …."""
    return {PICTURES if number == 1 else f"{PICTURES}-{number}": way for number, way in enumerate(config.passes, start=1)}


@dataclass(frozen=True)
class Further:
    """A network that a head applies after the network of its pass.

    Attributes:
        head: name of the head.
        name: name of the network in `Head.networks`.
        module: the network.
    """

    head: str
    name: str
    module: HeadNetwork


def further_networks(model: Model) -> dict[str, Further]:
    """Return the networks in `Head.networks` by unique names: "boxes", or "parts-boxes" for the head "parts" of a model with several."""
    return {
        f"{head}-{name}" if model.is_joint else name: Further(head, name, network)
        for head, module in _heads(model)
        for name, network in module.networks().items()
    }


def replace_further(model: Model, replacements: Mapping[str, Any]) -> None:
    """Replace the networks of all heads by callables, given by the names in `further_networks`. Earlier replacements are dropped."""
    further = further_networks(model)
    for head, module in _heads(model):
        module.replace({each.name: replacements[name] for name, each in further.items() if each.head == head and name in replacements})


def _heads(model: Model) -> Iterator[tuple[str, Head]]:
    for name, head in model.heads.items():
        assert isinstance(head, Head)
        yield name, head


class FirstNetwork(nn.Module):
    """Network of normalisation, backbone, and `Head.tensors` of the heads of one pass.

    It maps images [B, 3, H, W], float in 0–1, to tensors. A tensor that several heads return, such as the deepest level for pooling, is
    returned once.

    Attributes:
        heads: names of the heads.
        outputs: positions of each head's tensors among the outputs; empty for a model with one head, which uses all of them.
    """

    def __init__(self, model: Model, way: Pass, example: Tensor) -> None:
        """Assemble the network. `example` is a batch of images, for which it is called if the model has several heads."""
        super().__init__()
        self.model, self.heads = model, way.heads
        self.backbone = model.backbone
        if way.adapted:  # engines can't run the adapters, which are hooks
            adapters = model.adapters[way.heads[0]]
            assert isinstance(adapters, Adapters)
            self.backbone = adapters.folded(model.backbone)
        self.outputs: dict[str, tuple[int, ...]] = {}
        if model.is_joint:
            with torch.no_grad():
                by_head, seen = self.by_head(example), dict[int, int]()
            self.outputs = {name: tuple(seen.setdefault(id(tensor), len(seen)) for tensor in by_head[name]) for name in way.heads}
        places = [place for name in way.heads for place in self.outputs.get(name, ())]
        self._kept = [places.index(place) for place in sorted(set(places))]  # for each output, where it is first among all tensors

    def forward(self, pixels: Tensor) -> Tensors:
        """Return the outputs for images [B, 3, H, W], float in 0–1."""
        by_head = self.by_head(pixels)
        tensors = [tensor for name in self.heads for tensor in by_head[name]]
        return tuple(tensors[place] for place in self._kept) if self.outputs else tuple(tensors)

    def by_head(self, pixels: Tensor) -> dict[str, Tensors]:
        """Return the tensors of each head."""
        features = self.backbone(self.model.normalised(pixels))
        return {name: head.tensors(features) for name, head in _heads(self.model) if name in self.heads}
