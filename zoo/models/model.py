"""`Model`: a backbone and a task head, with the preprocessing that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones import Backbone, Features
from zoo.backbones.freezing import apply_freeze
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, Picture, as_float
from zoo.models.config import ModelConfig
from zoo.system.disk import save_tensors
from zoo.task.head import Head
from zoo.task.pooling import AnyImages, PooledBatch, PooledHead


class Model(nn.Module):
    """One trunk with the head of one task.

    Calling it with pictures answers in the task's convention; with pictures and targets it answers named losses, in
    training and in evaluation mode alike. Pictures are RGB, uint8 0–255 or float 0–1: the model normalises them itself.

    Attributes:
        config: enough to rebuild the model.
        preprocess: the only preprocessing; the model has applied it to everything but a plain batch.
        metadata: what travels with the model: distance and threshold of embeddings, training summary, scores.
        compiled: whether an engine computes it (`zoo.compile`).
        precision: of the engine's matrix work; None where the caller decides.
        fingerprints: of the model that a compiled one was made from; None where they are to be taken of the numbers in it.
    """

    def __init__(self, backbone: Backbone, head: Head, config: ModelConfig, metadata: Mapping[str, Any]) -> None:
        """Join a backbone and a head; `zoo.build` makes both from names.

        Args:
            backbone: the backbone, which `config.backbone` names.
            head: the head of the task `config.task`, built for the backbone's levels.
            config: enough to rebuild the model.
            metadata: what users of the answers need, such as the distance and threshold of embeddings.
        """
        super().__init__()
        self.config = config
        self.preprocess = config.preprocess
        self.backbone = backbone
        self._least_side = backbone.levels[-1].field
        self.heads = nn.ModuleDict({config.task: head})
        self.metadata: dict[str, Any] = dict(metadata)
        self.register_buffer("_mean", torch.tensor(self.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(self.preprocess.std).view(1, 3, 1, 1), persistent=False)
        self._mean: Tensor
        self._std: Tensor
        if config.norm_eps is not None:
            _set_norm_eps(self.backbone, config.norm_eps)
        self._frozen = apply_freeze(self.backbone, config.freeze)
        self.compiled = False
        self.precision: str | None = None
        self.fingerprints: dict[str, str] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The user's class names by index; no background among them."""
        return self.config.classes

    @property
    def task(self) -> str:
        """The task's name."""
        return self.config.task

    @property
    def backbone_name(self) -> str:
        """The trunk's name in the registry."""
        return self.config.backbone

    @property
    def head(self) -> Head:
        """The head of the model's task."""
        head = self.heads[self.config.task]
        assert isinstance(head, Head)
        return head

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._mean.device

    def check(self, batch: ImageBatch) -> None:
        """Refuse pictures that the trunk or the head can't take.

        Raises:
            InputError: too small for the one, or of another size than the other's own.
        """
        (height, width), least = batch.pixels.shape[-2:], self._least_side
        if min(height, width) < least:
            raise InputError(
                f"pictures of {height}×{width} pixels are too small for the backbone {self.backbone_name}, "
                f"which needs {least} each way; give a larger image_size"
            )
        self.head.check(batch)

    def features(self, batch: ImageBatch) -> Features:
        """Normalise and run the trunk: {"c2": [B, C, H / stride, W / stride], …}.

        Raises:
            InputError: pictures that the model can't take.
        """
        self.check(batch)
        return self.levels(as_float(batch.pixels))

    def levels(self, pixels: Tensor) -> Features:
        """Normalise and run the trunk on [B, 3, H, W], float 0–1."""
        features: Features = self.backbone((pixels - self._mean) / self._std)
        return features

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None) -> Any:
        """Answer in the task's convention, or, with targets, with named losses.

        Args:
            images: [B, 3, H, W], a list of pictures of any size, a prepared batch, or one that the trunk has seen already.
            targets: as the task's loss takes them: [B] int64 (classification, faces), or a list of
                `{"boxes": [N, 4] xyxy in pixels of the pictures as given, "labels": [N]}`.

        Raises:
            InputError: pictures that aren't RGB in 0–255 uint8 or 0–1 float.
        """
        if isinstance(images, PooledBatch):
            head, pooled = self.head, images.to(self.device).pooled
            assert isinstance(head, PooledHead), "other heads look at more of a trunk"
            return head.answer(pooled) if targets is None else head.pooled_loss(pooled, targets)
        batch = self.preprocess.batch(images).to(self.device)
        features = self.features(batch)
        if targets is None:
            return self.head(features, batch)
        return self.head.loss(features, batch, targets)

    def set_frozen(self, modules: tuple[nn.Module, ...]) -> None:
        """Keep these modules in evaluation mode from now on, and no others; `zoo.freeze` is the way in."""
        self._frozen = modules
        self.train(self.training)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return which layer a parameter belongs to, by its name: the stem is 0, then the stages, then the head (timm's interface)."""
        stages = self.backbone.stages()
        names = {module: name for name, module in self.named_modules()}
        prefixes = {f"{names[module]}.": number for number, stage in enumerate(stages) for module in stage}
        deepest = len(stages) - 1  # of the trunk, what stands outside its stages (a last norm) belongs to the last one

        def layer(name: str) -> int:
            outside = deepest if name.startswith("backbone.") else deepest + 1
            return next((number for prefix, number in prefixes.items() if name.startswith(prefix)), outside)

        return layer

    def write(self, folder: Path) -> dict[str, Any]:
        """Write what the model computes with into a folder, and return what model.json says of that beside config and metadata.

        Raises:
            OSError: no room, no permission.
        """
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_tensors(tensors, folder / "weights.safetensors")
        return {}

    def train(self, mode: bool = True) -> Model:
        """Set training mode; frozen parts stay in evaluation mode, so that their batch-norm statistics do not move."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def _set_norm_eps(backbone: nn.Module, eps: float) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
