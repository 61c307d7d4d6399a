"""Base classes of heads, which tasks add to backbones.

The features of a frozen backbone don't change, so a head that needs only pooled features (the spatial mean of the deepest level) can be
trained on stored features, without running the backbone again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.backbones import Features, Level
from zoo.data.loader import Batch
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.task.pooling import pooling_graph

Losses = dict[str, Tensor]
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Step:
    """A step of an export with one graph: a network of the head, or an ONNX graph between and after its networks.

    Values have names: `tensor0`, `tensor1`, … are the result of `Head.tensors`; `pixels` the padded images [B, 3, H, W], float in 0–1;
    `padded_hw` their height and width, int64 [2]; `frame` height and width of the images inside the padding, and the factors from these
    pixels to those of the images as given, float [4].

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order.
        graph: the ONNX graph; None for a network.
        network: name in `Head.networks`; empty for an ONNX graph.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graph: Any = None
    network: str = ""


@dataclass(frozen=True)
class HeadSpec:
    """Arguments for building a head.

    Attributes:
        levels: the backbone's feature levels, deepest last.
        num_classes: number of classes, without background; 0 for tasks without classes.
        options: the task's build options.
        preprocess: the model's preprocessing. A head may use its image size, but doesn't apply it.
    """

    levels: tuple[Level, ...]
    num_classes: int
    options: Any
    preprocess: Preprocess


class HeadNetwork(nn.Module):
    """Submodule of a head. It maps one tensor, with any number of rows along the first axis, to a tuple of tensors.

    Attributes:
        row_shape: shape of one row of the input tensor.
    """

    row_shape: tuple[int, ...]


class Head(nn.Module, ABC):
    """Base class of heads, which map features to outputs in the task's format, and features and targets to losses.

    The output is computed in two steps. `tensors` maps tensors to tensors, for any batch size and image size, so that it can be compiled
    together with the backbone. `answered` does the remaining post-processing; any learned modules it uses are listed in `networks`, so
    that they can be compiled too.

    Attributes:
        fixed_hw: the only supported image size (height, width); None if all sizes are supported.
        spec: the arguments with which the model built the head; None for a head outside a model.
        answer_names: names of the outputs of an export with one graph.
    """

    fixed_hw: tuple[int, int] | None = None
    answer_names: tuple[str, ...] = ("logits",)
    spec: HeadSpec | None = None

    def __init__(self) -> None:
        """Create a head without layers."""
        super().__init__()
        self._replaced: dict[str, Callable[..., Tensors]] = {}

    def check(self, batch: ImageBatch) -> None:
        """Check that the head supports the image sizes of a batch. By default, every batch is accepted.

        Raises:
            InputError: the head doesn't support an image size of the batch.
        """

    def forward(self, features: Features, batch: ImageBatch) -> Any:
        """Return the output in the task's format (logits, boxes, embeddings). Coordinates refer to the original images."""
        return self.answered(self.tensors(features), batch)

    @abstractmethod
    def tensors(self, features: Features) -> Tensors:
        """Return the part of the output that is computed from the backbone's feature levels alone."""

    @abstractmethod
    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the output in the task's format for a batch, computed from the result of `tensors`."""

    def networks(self) -> dict[str, HeadNetwork]:
        """Return the learned modules that `answered` calls, by name. Empty by default."""
        return {}

    def call(self, name: str, rows: Tensor) -> Tensors:
        """Call a module from `networks`, or its replacement, on `rows`."""
        found: Tensors = (self._replaced.get(name) or self.networks()[name])(rows)
        return found

    def replace(self, networks: Mapping[str, Callable[..., Tensors]]) -> None:
        """Replace modules from `networks` by other callables, such as compiled ones. Earlier replacements are dropped."""
        self._replaced = dict(networks)

    def steps(self) -> list[Step]:
        """Return the steps from `tensors` to the outputs `answer_names` of an export with one graph. All images have the same size.

        By default, there are none, and the first tensor is the output.
        """
        return []

    def from_outputs(self, outputs: Tensors, batch: ImageBatch) -> Any:
        """Return the output in the task's format from those of an export with one graph; by default its only one."""
        return outputs[0]

    @abstractmethod
    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return scalar losses by name, in training and evaluation mode. Targets are in coordinates of the original images."""


@dataclass(frozen=True)
class PooledBatch:
    """A batch of pooled features. A model with a `PooledHead` accepts it in place of images.

    Attributes:
        pooled: [B, C] float32, as returned by `PooledHead.pool`.
    """

    pooled: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pooled)

    def to(self, device: torch.device | str) -> PooledBatch:
        """Return the batch on `device`."""
        return PooledBatch(self.pooled.to(device))


AnyImages = ImageBatch | PooledBatch


class PooledHead(Head):
    """Base class of heads that use only the spatial mean of the backbone's deepest level.

    The mean of a padded image doesn't include the padding, so it doesn't depend on the other images of the batch.
    """

    @property
    def _padded(self) -> bool:
        return self.spec is not None and self.spec.preprocess.pads

    def pool(self, features: Features, batch: ImageBatch) -> Tensor:
        """Return the spatial mean of the deepest level: [B, C], float32 regardless of the backbone's precision."""
        return self._mean(features[next(reversed(features))].float(), batch)

    def _mean(self, deepest: Tensor, batch: ImageBatch) -> Tensor:
        if not self._padded:
            return deepest.mean((2, 3))
        (rows, columns), (height, width) = deepest.shape[2:], batch.pixels.shape[2:]
        sizes = [(math.ceil(size[0] * rows / height), math.ceil(size[1] * columns / width)) for size in batch.sizes_hw]
        return torch.stack([level[:, :high, :wide].mean((1, 2)) for level, (high, wide) in zip(deepest, sizes, strict=True)])

    @abstractmethod
    def answer(self, pooled: Tensor) -> Any:
        """Return the output in the task's format for pooled features [B, C]."""

    @abstractmethod
    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return scalar losses by name for pooled features [B, C]."""

    def tensors(self, features: Features) -> Tensors:
        """Return the output as a tuple of one tensor. If images are padded, it is the deepest level, because the sizes aren't known."""
        deepest = features[next(reversed(features))].float()
        return (deepest,) if self._padded else (self.answer(deepest.mean((2, 3))),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the output in the task's format."""
        return self.call("pooled", self._mean(tensors[0], batch))[0] if self._padded else tensors[0]

    def networks(self) -> dict[str, HeadNetwork]:
        """Return the layers after pooling under the name "pooled" if images are padded; otherwise, they are part of `tensors`."""
        return {"pooled": _Pooled(self)} if self._padded else {}

    def steps(self) -> list[Step]:
        """Return the pooling and the layers after it if images are padded."""
        if not self._padded:
            return []
        mean = Step(("tensor0", "padded_hw", "frame"), ("pooled",), pooling_graph())
        return [mean, Step(("pooled",), self.answer_names, network="pooled")]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return scalar losses by name."""
        return self.pooled_loss(self.pool(features, batch), targets)


class _Pooled(HeadNetwork):
    """The layers of a `PooledHead` after pooling. They map pooled features [B, C] to a tuple of one tensor."""

    def __init__(self, head: PooledHead) -> None:
        super().__init__()
        assert head.spec is not None
        self.head, self.row_shape = head, (head.spec.levels[-1].channels,)

    def forward(self, pooled: Tensor) -> Tensors:
        return (self.head.answer(pooled),)


class RememberingHead(PooledHead):
    """Base class of heads without parameters, such as k-nearest neighbours. They store the pooled features of all training images."""

    @abstractmethod
    def remember(self, pooled: Tensor, targets: Any) -> None:
        """Store pooled features [N, C] and their targets. Replaces previously stored ones."""


AnyBatch = Batch[ImageBatch] | Batch[PooledBatch]


class FeatureBatches(Protocol):
    """Batches of pooled features in a fixed order."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""


class FeatureSource(Protocol):
    """Stored pooled features of a dataset, created by `zoo.training.features`."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset."""

    def evaluation(self, batch_size: int, rank: int, processes: int) -> FeatureBatches:
        """Return the batches of the process `rank`. Across all processes, every sample occurs exactly once."""
