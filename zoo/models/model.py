"""`Model`: a backbone with one or several task heads, their preprocessing and the frozen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones import Backbone, Features, apply_freeze, frozen_stages
from zoo.errors import InputError, UnknownNameError
from zoo.images.preprocess import ImageBatch, Picture, Preprocess, as_float
from zoo.models.adapters import Adapters
from zoo.models.config import ModelConfig
from zoo.models.passes import Pass, differences, passes_of
from zoo.system.disk import save_tensors
from zoo.system.threads import THREADS
from zoo.task.contract import Task
from zoo.task.head import AnyImages, Head, PooledBatch, PooledHead


class Model(nn.Module):
    """A backbone with one or several task heads, their preprocessing and the frozen layers.

    When called with images, a model with one head returns predictions in the task's format. When called with images and targets, it returns
    named losses, in training mode as well as in evaluation mode. A model with several heads returns a dict from head name to predictions,
    or losses named `head/loss`. Images are RGB, uint8 in 0–255 or float in 0–1. The model normalises them.

    Attributes:
        config: configuration from which the model can be rebuilt.
        metadata: data saved with the model: distance and threshold of embeddings, training summary, scores. With several heads, the entry
            "heads" contains the metadata of each head by name.
        compiled: whether an engine runs the model (`zoo.compile`).
        precision: numeric precision of the engine; None if the caller chooses the precision.
        encrypted: whether the model was loaded from an encrypted file, so that its weights, also converted ones, aren't written to disk.
        fingerprints: fingerprints of the model that this one was compiled from; None if they are computed from the parameters.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[str, Head],
        adapters: Mapping[str, Adapters],
        config: ModelConfig,
        metadata: Mapping[str, Any],
    ) -> None:
        """Combine a backbone with heads and adapters that were built for it. `zoo.build` creates them from their names.

        The metadata are required to interpret predictions, such as the distance and threshold of embeddings.
        """
        super().__init__()
        self.config = config
        self.backbone = backbone
        self._least_side = backbone.levels[-1].field
        self.heads = nn.ModuleDict(heads)
        self.adapters = nn.ModuleDict(adapters)
        self.metadata: dict[str, Any] = dict(metadata)
        self._whole_metadata: Mapping[str, Any] | None = None  # of the model that this one is a view of
        self._mean: Tensor
        self._std: Tensor
        normalisation = next(iter(config.heads.values())).preprocess  # the same for all heads, because it is part of the backbone
        self.register_buffer("_mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(normalisation.std).view(1, 3, 1, 1), persistent=False)
        if config.norm_eps is not None:
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = config.norm_eps
        self._frozen = self._freeze(config.freeze)
        self.compiled = self.encrypted = False
        self.precision: str | None = None
        self.fingerprints: dict[str, Any] | None = None

    @property
    def classes(self) -> Any:
        """Class names by index, without background; for several heads, a dict from head name to the names."""
        names = {name: head.classes for name, head in self.config.heads.items()}
        return names if self.is_joint else self.config.classes

    @property
    def task(self) -> Any:
        """The name of the task; for several heads, a dict from head name to the name of its task."""
        names = {name: head.task for name, head in self.config.heads.items()}
        return names if self.is_joint else self.config.task

    @property
    def hub(self) -> dict[str, str] | None:
        """The repository and the commit of the Hub that the model was loaded from; None for any other model."""
        found: dict[str, str] | None = (self.metadata if self._whole_metadata is None else self._whole_metadata).get("hub")
        return found

    @property
    def is_joint(self) -> bool:
        """Whether the model has several heads."""
        return len(self.heads) > 1

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of images.

        The model applies it to all inputs except prepared batches and, unless its policy is "fit", tensors [B, 3, H, W].

        Raises:
            InputError: the model has several heads with different preprocessing.
        """
        ways = self.passes()
        if len(ways) > 1:
            raise InputError(f"the model has {len(ways)} ways of preprocessing images ({differences(ways)}); use model.passes()")
        return ways[0].preprocess

    @preprocess.setter
    def preprocess(self, preprocess: Preprocess) -> None:
        heads = {name: replace(head, preprocess=preprocess) for name, head in self.config.heads.items()}
        self.config = replace(self.config, heads=heads)

    @property
    def definition(self) -> Task:
        """The definition of the task, in the variant for the model's options."""
        return self.config.only.definition

    @property
    def backbone_name(self) -> str:
        """The name of the backbone in the registry."""
        return self.config.backbone

    @property
    def head(self) -> Head:
        """The only head of the model."""
        _ = self.config.only
        return self._head(next(iter(self.heads)))

    def _head(self, name: str) -> Head:
        head = self.heads[name]
        assert isinstance(head, Head)
        return head

    def _adapters(self, name: str) -> Adapters:
        adapters = self.adapters[name]
        assert isinstance(adapters, Adapters)
        return adapters

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self._mean.device

    def passes(self, tasks: Sequence[str] | None = None) -> list[Pass]:
        """Return the passes through the backbone that one image needs: one for each way of preprocessing.

        Args:
            tasks: names of the heads to compute; None for all.

        Raises:
            UnknownNameError: the model has no head of that name.
        """
        heads = {name: self.config.heads[name] for name in self._chosen(tasks)}
        return passes_of({name: (head.preprocess, head.adapters) for name, head in heads.items()})

    def _chosen(self, names: Iterable[str] | None) -> tuple[str, ...]:
        """Return the names of heads in the order of the model; all of them for None."""
        if names is None:
            return tuple(self.config.heads)
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in self.config.heads:
                raise UnknownNameError("head of the model:", name, self.config.heads)
        return tuple(name for name in self.config.heads if name in names)

    def head_metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a head, which may be changed."""
        found: dict[str, Any] = self.metadata["heads"][name] if self.is_joint else self.metadata
        return found

    def view(self, name: str) -> Model:
        """Return a model with one head, which shares the parameters of this model. Its head is named after its task.

        Raises:
            UnknownNameError: the model has no head of that name.
        """
        if [*self.config.heads] == [name] and name == self.config.task:
            return self
        (name,) = self._chosen([name])
        task = self.config.heads[name].task
        adapters = {task: self._adapters(name)} if name in self.adapters else {}
        other = Model(self.backbone, {task: self._head(name)}, adapters, self.config.alone(name), self.head_metadata(name))
        other._whole_metadata, other.encrypted = self.metadata, self.encrypted
        return other.to(self.device).train(self.training)

    def check(self, batch: ImageBatch, tasks: Sequence[str] | None = None) -> None:
        """Raise an `InputError` if the images are too small for the backbone, or don't have the size that a head requires."""
        (height, width), least = batch.pixels.shape[-2:], self._least_side
        if min(height, width) < least:
            raise InputError(
                f"images of {height}×{width} pixels are too small for the backbone {self.backbone_name}, "
                f"which needs at least {least} pixels per side; set a larger image_size"
            )
        for name in self._chosen(tasks):
            self._head(name).check(batch)

    def features(self, batch: ImageBatch, way: Pass | None = None) -> Features:
        """Check the size of a batch of images, and return the backbone's feature maps: {"c2": [B, C, H / stride, W / stride], …}.

        Args:
            batch: the batch.
            way: the pass to compute; by default, the first one.
        """
        self.check(batch, None if way is None else way.heads)
        return self.levels(as_float(batch.pixels), way)

    def levels(self, pixels: Tensor, way: Pass | None = None) -> Features:
        """Normalise images [B, 3, H, W], float in 0–1, and return the backbone's feature maps by level name, as `features` does."""
        way, normalised = way or self.config.passes[0], self.normalised(pixels)
        features: Features
        if way.adapted:
            with self._adapters(way.heads[0]).applied(self.backbone):
                features = self.backbone(normalised)
        else:
            features = self.backbone(normalised)
        return features

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return images with the mean and standard deviation that the backbone expects; `pixels` are those of `levels`."""
        return (pixels - self._mean) / self._std

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None, tasks: Sequence[str] | None = None) -> Any:
        """Return predictions in the task's format, or named losses if targets are passed.

        Args:
            images: a tensor [B, 3, H, W], a list of images of any size, a prepared batch, or a batch of pooled features. A prepared batch
                must suit all heads that are computed.
            targets: ground truth for the loss; None to return predictions. For classification and face, it is a tensor of class indices,
                [B] int64; for multi-label classification, [B, K] float32 with 1, 0 or NaN (unknown). For detection, it is a list of
                `{"boxes": [N, 4] xyxy in pixels of the original images, "labels": [N]}`. For a model with several heads, it is a dict from
                head name to such targets; heads without targets are not computed.
            tasks: names of the heads to compute; None for all.

        Returns:
            With one head, its predictions or its losses by name. With several heads, a dict from head name to predictions, or a dict of
            losses named `head/loss`.

        Raises:
            InputError: the images aren't RGB, are neither uint8 in 0–255 nor float in 0–1, or have an unsupported size; or a prepared batch
                is passed for heads with different preprocessing.
            UnknownNameError: the model has no head of that name.
        """
        if not self.training and not isinstance(images, PooledBatch):
            THREADS.adapt()
        if not self.is_joint:
            self._chosen(tasks)
            (name,) = self.heads
            return self._computed(images, {name: targets})[name]
        if targets is None:
            found = self._computed(images, dict.fromkeys(self._chosen(tasks)))
            return {name: found[name] for name in self._chosen(tasks)}
        if not isinstance(targets, Mapping) or not targets:
            raise InputError(f"the targets of a model with several heads are a dict from head name ({', '.join(self.heads)}) to targets")
        wanted = {name: targets[name] for name in self._chosen(targets) if name in self._chosen(tasks)}
        if not wanted:
            raise InputError(f"tasks is {tasks!r}, but the targets are those of {', '.join(targets)}; expected a head with targets")
        losses = self._computed(images, wanted)
        return {f"{name}/{loss}": value for name in wanted for loss, value in losses[name].items()}

    def _computed(self, images: AnyImages | Tensor | Sequence[Picture], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Return the predictions of heads by name, or the losses of those whose targets aren't None. The backbone runs once per pass."""
        found = {}
        if isinstance(images, PooledBatch):
            pooled = images.to(self.device).pooled
            for name, target in targets.items():
                head = self._head(name)
                assert isinstance(head, PooledHead), "other heads need full feature maps"
                found[name] = head.answer(pooled) if target is None else head.pooled_loss(pooled, target)
            return found
        ways = self.passes([*targets])
        if isinstance(images, ImageBatch) and len(ways) > 1:
            raise InputError(
                f"a prepared batch suits one way of preprocessing, but the heads have {len(ways)} ({differences(ways)}); pass images, or "
                "choose heads of one pass with tasks="
            )
        for way in ways:
            batch = way.preprocess.batch(images).to(self.device)
            self.check(batch, way.heads)
            found.update(self._pass(way, batch, targets))
        return found

    def _pass(self, way: Pass, batch: ImageBatch, targets: Mapping[str, Any]) -> dict[str, Any]:
        """Return the predictions of the heads of a pass by name, or the losses of those whose targets aren't None."""
        features, found = self.levels(as_float(batch.pixels), way), {}
        for name in way.heads:
            head, target = self._head(name), targets[name]
            found[name] = head(features, batch) if target is None else head.loss(features, batch, target)
        return found

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

    def freeze(self, what: str) -> None:
        """Freeze the selected layers of the backbone, and unfreeze all others; see `zoo.freeze`."""
        self._frozen = self._freeze(what)
        self.train(self.training)
        self.config = replace(self.config, freeze=what)

    def _freeze(self, what: str) -> tuple[nn.Module, ...]:
        if self.adapters and frozen_stages(self.backbone, what)[0] < len(self.backbone.stages()):
            having = ", ".join(self.adapters)
            raise InputError(f"freeze is {what!r}, but there are adapters for a frozen backbone ({having}); expected 'trunk'")
        return apply_freeze(self.backbone, what)

    def train(self, mode: bool = True) -> Model:
        """Set training mode. Frozen modules stay in evaluation mode, so that their batch-norm statistics don't change."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self
