"""Face heads: from a backbone's features through a neck to an embedding, with a loss over the training identities."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import Features
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch
from zoo.task.head import Head, HeadSpec, Losses, Tensors
from zoo.task.pooling import PooledHead
from zoo.tasks.face.embedding.options import FaceOptions, LossName

_FACENET_EPSILON = 1e-3  # epsilon of facenet-pytorch's batch norms, ported from TensorFlow


class IdentityHead(Head):
    """Base class of face heads: normalisation of the embeddings, and the loss.

    The loss is a sub-module named "arcface", "cosface" or "triplet". It holds the learned identity centres of the first two, so training
    can be resumed; embeddings don't depend on them. A head without identities has no loss and only embeds.
    """

    class_dependent: ClassVar[tuple[str, ...]] = tuple(f"{name}." for name in get_args(LossName))

    def __init__(self, num_identities: int, options: FaceOptions) -> None:
        """Build the loss; with 0 identities there is none, and the model only embeds."""
        super().__init__()
        self.unit_length = options.distance != "euclidean"
        self.loss_name: str = options.loss
        if num_identities and not self.unit_length:
            raise InputError(
                f"face: these embeddings are compared by their unnormalised distance, but the loss {options.loss} trains angles; to train, "
                "build the model with distance='cosine' (--distance cosine; a threshold stored with the weights is no longer valid then); "
                "to embed, build it without identities"
            )
        if num_identities:
            from zoo.tasks.face.embedding.losses import make_loss  # slow import (a second)

            self.add_module(options.loss, make_loss(num_identities, options))

    @property
    def criterion(self) -> nn.Module | None:
        """The loss module, from embeddings [B, D] and identities [B] to a scalar; None without identities."""
        return self._modules.get(self.loss_name)

    def finished(self, embeddings: Tensor) -> Tensor:
        """Return embeddings [B, D], normalised to unit length unless the distance is Euclidean."""
        return F.normalize(embeddings, dim=1) if self.unit_length else embeddings

    def identity_loss(self, embeddings: Tensor, targets: Any) -> Losses:
        """Return the loss of embeddings [B, D] with identities [B] int64, under the key `loss_<name>`."""
        criterion = self.criterion
        if criterion is None:
            raise InputError(
                "face: this model was built without identities and only embeds; to train it, build it with classes= or num_classes="
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            return {f"loss_{self.loss_name}": criterion(embeddings, targets.to(embeddings.device))}


class EmbeddingHead(IdentityHead, PooledHead):
    """Head with global average pooling of the deepest level, a linear layer, batch norm (none in dlib's neck) and normalisation."""

    def __init__(self, channels: int, num_identities: int, options: FaceOptions) -> None:
        """Build the layers for the channels of the backbone's deepest level."""
        super().__init__(num_identities, options := options.settled())
        assert options.embedding_size is not None
        self.dropout = options.dropout
        # no bias: the batch norm that follows would cancel it
        self.fc = nn.Linear(channels, options.embedding_size, bias=False)
        epsilon = _FACENET_EPSILON if options.neck == "facenet" else 1e-5
        self.norm = nn.Identity() if options.neck == "dlib" else nn.BatchNorm1d(options.embedding_size, epsilon)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return embeddings [B, D], float32 whatever the precision of the backbone."""
        _check_batch(self.norm, pooled)
        # bf16 has 8 bits of precision: too few for unit lengths and for the small angles that distinguish faces
        with torch.autocast(pooled.device.type, enabled=False):
            return self.finished(self.norm(self.fc(F.dropout(pooled, self.dropout or 0.0, self.training))))

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the loss of pooled features [B, C] with identities [B] int64."""
        return self.identity_loss(self.answer(pooled), targets)


class FlatEmbeddingHead(IdentityHead):
    """Head with batch norm of the deepest level, dropout, a linear layer over all positions, batch norm without scale, and normalisation.

    The "E" output of Deng et al. 2019 (arXiv 1801.07698, section 3.2.1), as implemented in InsightFace's arcface_torch. Each position has
    separate weights, which suits aligned faces and requires images of a fixed size.
    """

    def __init__(self, spec: HeadSpec) -> None:
        """Build the layers from the backbone's levels, the image size and settled options."""
        options: FaceOptions = spec.options
        super().__init__(spec.num_classes, options)
        assert options.embedding_size is not None
        assert options.dropout is not None
        level, height, width = spec.levels[-1], *spec.preprocess.size_hw
        self.fixed_hw = height, width
        places = level.places(height) * level.places(width)
        self.bn = nn.BatchNorm2d(level.channels)
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(level.channels * places, options.embedding_size)
        self.norm = nn.BatchNorm1d(options.embedding_size)
        self.norm.weight.requires_grad_(False)

    def check(self, batch: ImageBatch) -> None:
        """Check the size of the images."""
        assert self.fixed_hw is not None
        if batch.pixels.shape[2:] != self.fixed_hw:
            raise InputError(
                f"face: this model embeds images of {self.fixed_hw[0]}×{self.fixed_hw[1]} pixels only (its neck is 'flat'), "
                f"not of {batch.pixels.shape[2]}×{batch.pixels.shape[3]}"
            )

    def tensors(self, features: Features) -> Tensors:
        """Return embeddings [B, D], float32 whatever the precision of the backbone."""
        deepest = features[next(reversed(features))].float()
        _check_batch(self.norm, deepest)
        with torch.autocast(deepest.device.type, enabled=False):
            return (self.finished(self.norm(self.fc(self.dropout(self.bn(deepest)).flatten(1)))),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Tensor:
        """Return the embeddings."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return the loss of the features' embeddings with identities [B] int64."""
        return self.identity_loss(self(features, batch), targets)


def make_head(spec: HeadSpec) -> IdentityHead:
    """Build the head for the neck chosen in the options."""
    if spec.options.neck == "flat":
        return FlatEmbeddingHead(spec)
    return EmbeddingHead(spec.levels[-1].channels, spec.num_classes, spec.options)


def _check_batch(norm: nn.Module, rows: Tensor) -> None:
    if norm.training and isinstance(norm, nn.BatchNorm1d) and len(rows) < 2:
        raise InputError(
            "face: a batch of one image can't be used in training mode (batch norm); use 2 or more images, or call model.eval() first"
        )
