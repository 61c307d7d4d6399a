"""`Model`: a backbone and a task head, with their preprocessing and their frozen layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones import Backbone, Features, apply_freeze, frozen_stages
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, Picture, as_float
from zoo.models.config import ModelConfig
from zoo.system.disk import save_tensors
from zoo.system.threads import THREADS
from zoo.task.contract import Task, get_task
from zoo.task.head import AnyImages, Head, PooledBatch, PooledHead


class Model(nn.Module):
    """A backbone with the head of a task.

    When called with images, the model returns predictions in the task's format. When called with images and targets, it returns named
    losses, in training mode as well as in evaluation mode. Images are RGB, uint8 in 0–255 or float in 0–1. The model normalises them.

    Attributes:
        config: configuration from which the model can be rebuilt.
        preprocess: preprocessing of images. The model applies it to all inputs except prepared batches and, unless its policy is "fit",
            tensors [B, 3, H, W].
        metadata: data saved with the model: distance and threshold of embeddings, training summary, scores.
        compiled: whether an engine runs the model (`zoo.compile`).
        precision: numeric precision of the engine; None if the caller chooses the precision.
        fingerprints: fingerprints of the model that this one was compiled from; None if they are computed from the parameters.
    """

    def __init__(self, backbone: Backbone, head: Head, config: ModelConfig, metadata: Mapping[str, Any]) -> None:
        """Combine a backbone and a head that was built for the backbone's levels. `zoo.build` creates both from their names.

        The metadata are required to interpret predictions, such as the distance and threshold of embeddings.
        """
        super().__init__()
        self.config = config
        self.preprocess = config.preprocess
        self.backbone = backbone
        self._least_side = backbone.levels[-1].field
        self.heads = nn.ModuleDict({config.task: head})
        self.metadata: dict[str, Any] = dict(metadata)
        self._mean: Tensor
        self._std: Tensor
        self.register_buffer("_mean", torch.tensor(self.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(self.preprocess.std).view(1, 3, 1, 1), persistent=False)
        if config.norm_eps is not None:
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = config.norm_eps
        self._frozen = apply_freeze(self.backbone, config.freeze)
        self.compiled = False
        self.precision: str | None = None
        self.fingerprints: dict[str, str] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index, without background."""
        return self.config.classes

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.config.task

    @property
    def definition(self) -> Task:
        """The definition of the task, in the variant for the model's options."""
        return get_task(self.config.task, self.config.options)

    @property
    def backbone_name(self) -> str:
        """The name of the backbone in the registry."""
        return self.config.backbone

    @property
    def head(self) -> Head:
        """The head of the model's task."""
        head = self.heads[self.config.task]
        assert isinstance(head, Head)
        return head

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self._mean.device

    def check(self, batch: ImageBatch) -> None:
        """Raise an `InputError` if the images are too small for the backbone, or don't have the size that the head requires."""
        (height, width), least = batch.pixels.shape[-2:], self._least_side
        if min(height, width) < least:
            raise InputError(
                f"images of {height}×{width} pixels are too small for the backbone {self.backbone_name}, "
                f"which needs at least {least} pixels per side; set a larger image_size"
            )
        self.head.check(batch)

    def features(self, batch: ImageBatch) -> Features:
        """Check the size of a batch of images, and return the backbone's feature maps: {"c2": [B, C, H / stride, W / stride], …}."""
        self.check(batch)
        return self.levels(as_float(batch.pixels))

    def levels(self, pixels: Tensor) -> Features:
        """Normalise images [B, 3, H, W], float in 0–1, and return the backbone's feature maps by level name."""
        features: Features = self.backbone((pixels - self._mean) / self._std)
        return features

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None) -> Any:
        """Return predictions in the task's format, or named losses if targets are passed.

        Args:
            images: a tensor [B, 3, H, W], a list of images of any size, a prepared batch, or a batch of pooled features.
            targets: ground truth for the loss; None to return predictions. For classification and face, it is a tensor of class indices,
                [B] int64. For detection, it is a list of `{"boxes": [N, 4] xyxy in pixels of the original images, "labels": [N]}`.

        Raises:
            InputError: the images aren't RGB, are neither uint8 in 0–255 nor float in 0–1, or have an unsupported size.
        """
        if isinstance(images, PooledBatch):
            head, pooled = self.head, images.to(self.device).pooled
            assert isinstance(head, PooledHead), "other heads need full feature maps"
            return head.answer(pooled) if targets is None else head.pooled_loss(pooled, targets)
        if not self.training:
            THREADS.adapt()
        batch = self.preprocess.batch(images).to(self.device)
        features = self.features(batch)
        return self.head(features, batch) if targets is None else self.head.loss(features, batch, targets)

    def engine_details(self) -> dict[str, Any] | None:
        """Return the engine, the precision and the agreement of a compiled model, as JSON-serialisable values; None for any other model."""
        return None

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return a function that maps the name of a parameter to the number of its layer group, as in timm.

        The stem is group 0, followed by the stages and the head. timm passes `coarse`, which is ignored.
        """
        stages = self.backbone.stages()
        names = {module: name for name, module in self.named_modules()}
        prefixes = {f"{names[module]}.": number for number, stage in enumerate(stages) for module in stage}
        deepest = len(stages) - 1  # backbone modules outside the stages (a final norm) belong to the last stage

        def layer(name: str) -> int:
            outside = deepest if name.startswith("backbone.") else deepest + 1
            return next((number for prefix, number in prefixes.items() if name.startswith(prefix)), outside)

        return layer

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the weights to a folder, and return the entries to add to model.json, besides configuration and metadata."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_tensors(tensors, folder / "weights.safetensors")
        return {}

    def train(self, mode: bool = True) -> Model:
        """Set training mode. Frozen modules stay in evaluation mode, so that their batch-norm statistics don't change."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def freeze(model: Model, what: str) -> Model:
    """Freeze the selected layers of a model's backbone, and unfreeze all others.

    The parameters of frozen layers get no gradients. Frozen batch-norms use their running statistics without updating them.

    Args:
        model: model to freeze, changed in place.
        what: layers to freeze: "none", "trunk" (the whole backbone), "stages=N" (the stem and the first N stages), "norm" (all batch-norms
            of the backbone), or two of these values joined by a comma, such as "stages=2,norm".

    Returns:
        The model.

    Raises:
        InputError: `what` is invalid, N exceeds the number of stages, or the model is compiled.

    Example:
        >>> import zoo
        >>> model = zoo.freeze(zoo.build("resnet20", num_classes=2), "stages=1")
        >>> model.config.freeze
        'stages=1'
    """
    if model.compiled:
        raise InputError("a compiled model can't be trained and has nothing to freeze: freeze the model it was compiled from")
    model._frozen = apply_freeze(model.backbone, what)
    model.train(model.training)
    model.config = replace(model.config, freeze=what)
    return model


def unfreeze(model: Model, stages: int | None = None) -> Model:
    """Unfreeze a model's backbone completely, or only its deepest frozen stages for gradual unfreezing.

    Args:
        model: model to unfreeze, changed in place.
        stages: number of stages to unfreeze, the deepest first; None for the whole backbone, including frozen batch-norms.

    Returns:
        The model.

    Raises:
        InputError: `stages` is below 1.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", num_classes=2, freeze="trunk")
        >>> zoo.unfreeze(model, stages=1).config.freeze
        'stages=2'
    """
    if stages is not None and stages < 1:
        raise InputError(f"unfreeze: stages is {stages}; expected 1 or more, or None for the whole backbone")
    if stages is None:
        return freeze(model, "none")
    count, norm = frozen_stages(model.backbone, model.config.freeze)
    words = [f"stages={count - stages - 1}"] if count > stages else []
    return freeze(model, ",".join(words + ["norm"] * norm) or "none")
