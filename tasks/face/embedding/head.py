"""Face heads: a neck that maps a backbone's features to an embedding, and a loss over the training identities."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import Features
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch
from zoo.task.head import Head, HeadSpec, Losses, PooledHead, Tensors
from zoo.tasks.face.embedding.options import FaceOptions, LossName

_FACENET_EPSILON = 1e-3  # epsilon of facenet-pytorch's batch norms, whose weights were ported from TensorFlow


class IdentityHead(Head):
    """Base class of face heads: normalisation of the embeddings, and the loss.

    The loss is a sub-module named "arcface", "cosface" or "triplet". For "arcface" and "cosface", it holds the learned identity centres,
    which are needed to resume training but not to compute embeddings. A head without identities has no loss and only embeds.
    """

    class_dependent: ClassVar[tuple[str, ...]] = tuple(f"{name}." for name in get_args(LossName))
    answer_names = ("embeddings",)

    def __init__(self, num_identities: int, options: FaceOptions) -> None:
        """Build the loss. With 0 identities there is no loss, and the model only embeds."""
        super().__init__()
        self.unit_length = options.distance != "euclidean"
        self.loss_name: str = options.loss
        if num_identities and not self.unit_length:
            raise InputError(
                f"face: the loss {options.loss} requires unit-length embeddings, but the distance is euclidean. To train, build the model "
                "with distance='cosine' (--distance cosine); a threshold stored with the weights then no longer applies. "
                "To compute embeddings only, don't pass classes (identities)."
            )
        if num_identities:
            from zoo.tasks.face.embedding.losses import make_loss  # slow import (a second)

            self.add_module(options.loss, make_loss(num_identities, options))

    def finished(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings [B, D]: normalised to unit length, or unchanged if the distance is Euclidean."""
        return F.normalize(embeddings, dim=1) if self.unit_length else embeddings

    def identity_loss(self, embeddings: Tensor, targets: Any) -> Losses:
        """Return the loss for embeddings [B, D] and identity labels [B] (int64), as a dict with the key `loss_<name>`."""
        criterion = self._modules.get(self.loss_name)
        if criterion is None:
            raise InputError(
                "face: this model was built without identities, so it can't be trained; to train it, build it with classes= or num_classes="
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            return {f"loss_{self.loss_name}": criterion(embeddings, targets.to(embeddings.device))}


class EmbeddingHead(IdentityHead, PooledHead):
    """Head with global average pooling of the deepest level, a linear layer, batch norm (not for the neck "dlib") and normalisation."""

    def __init__(self, channels: int, num_identities: int, options: FaceOptions) -> None:
        """Build the layers; `channels` is the number of channels of the backbone's deepest level."""
        super().__init__(num_identities, options := options.settled())
        assert options.embedding_size is not None
        self.dropout = options.dropout
        # no bias, because the batch norm that follows would cancel it
        self.fc = nn.Linear(channels, options.embedding_size, bias=False)
        epsilon = _FACENET_EPSILON if options.neck == "facenet" else 1e-5
        self.norm = nn.Identity() if options.neck == "dlib" else nn.BatchNorm1d(options.embedding_size, epsilon)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return the embeddings [B, D] of pooled features, in float32 for any precision of the backbone."""
        _check_batch(self.norm, pooled)
        # the 8 bits of precision of bf16 are too few for unit length and for the small angles that distinguish faces
        with torch.autocast(pooled.device.type, enabled=False):
            return self.finished(self.norm(self.fc(F.dropout(pooled, self.dropout or 0.0, self.training))))

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the loss for pooled features [B, C] and identity labels [B] (int64)."""
        return self.identity_loss(self.answer(pooled), targets)


class FlatEmbeddingHead(IdentityHead):
    """Head with batch norm of the deepest level, dropout, a linear layer over all positions, batch norm of fixed scale, and normalisation.

    This is output option "E" of Deng et al. 2019 (arXiv 1801.07698, section 3.2.1), as implemented in InsightFace's arcface_torch. Each
    position has separate weights, which suits aligned faces but requires images of a fixed size.
    """

    def __init__(self, spec: HeadSpec) -> None:
        """Build the layers for the backbone's levels and the image size. The options in `spec` must be resolved (defaults filled in)."""
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
        """Check that the images have the size for which the head was built."""
        assert self.fixed_hw is not None
        if batch.pixels.shape[2:] != self.fixed_hw:
            raise InputError(
                f"face: the image size is {batch.pixels.shape[2]}×{batch.pixels.shape[3]} pixels, but this model, whose neck is 'flat', "
                f"only accepts {self.fixed_hw[0]}×{self.fixed_hw[1]}"
            )

    def tensors(self, features: Features) -> Tensors:
        """Return the embeddings [B, D], in float32 for any precision of the backbone, as a tuple of one."""
        deepest = features[next(reversed(features))].float()
        _check_batch(self.norm, deepest)
        with torch.autocast(deepest.device.type, enabled=False):
            return (self.finished(self.norm(self.fc(self.dropout(self.bn(deepest)).flatten(1)))),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Tensor:
        """Return the embeddings."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return the loss of a batch; `targets` are the identities [B] int64."""
        return self.identity_loss(self(features, batch), targets)


def make_head(spec: HeadSpec) -> IdentityHead:
    """Build the head for the neck chosen in the options."""
    if spec.options.neck == "flat":
        return FlatEmbeddingHead(spec)
    return EmbeddingHead(spec.levels[-1].channels, spec.num_classes, spec.options)


def _check_batch(norm: nn.Module, rows: Tensor) -> None:
    if norm.training and isinstance(norm, nn.BatchNorm1d) and len(rows) < 2:
        raise InputError(
            "face: the batch has one image, but batch norm needs 2 or more in training mode; use a larger batch, or call model.eval() first"
        )
