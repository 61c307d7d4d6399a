"""From a trunk's features to an embedding, by way of one of several necks, and the loss over the identities of the training data."""

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

_FACENET_EPSILON = 1e-3  # of facenet-pytorch's batch-norms, which were TensorFlow's


class IdentityHead(Head):
    """What all heads for faces share: the length of embeddings, and the loss.

    The loss is a module of the head under its own name ("arcface", "cosface" or "triplet"): the centres of identities that the first
    two learn are part of it, so that training can be resumed. Embeddings don't depend on them. A head without identities only embeds.
    """

    class_dependent: ClassVar[tuple[str, ...]] = tuple(f"{name}." for name in get_args(LossName))

    def __init__(self, num_identities: int, options: FaceOptions) -> None:
        """Build the loss.

        Args:
            num_identities: people in the training data; 0 for a model that only embeds.
            options: distance and loss.

        Raises:
            InputError: identities for embeddings that are compared by their raw distance.
        """
        super().__init__()
        self.unit_length = options.distance != "euclidean"
        self.loss_name: str = options.loss
        if num_identities and not self.unit_length:
            raise InputError(
                f"face: these embeddings are compared by their raw distance, and the loss {options.loss} learns angles. To train, build "
                "the model with distance='cosine' (--distance cosine; a threshold that came with the weights doesn't hold then); to embed, "
                "build it without identities"
            )
        if num_identities:
            from zoo.tasks.face.embedding.losses import make_loss  # takes a second to import

            self.add_module(options.loss, make_loss(num_identities, options))

    @property
    def criterion(self) -> nn.Module | None:
        """From embeddings [B, D] and identities [B] to the loss; None without identities."""
        return self._modules.get(self.loss_name)

    def finished(self, embeddings: Tensor) -> Tensor:
        """Return embeddings [B, D] at the length that they are compared at."""
        return F.normalize(embeddings, dim=1) if self.unit_length else embeddings

    def identity_loss(self, embeddings: Tensor, targets: Any) -> Losses:
        """Return the loss with identities [B] int64, as "loss_" and its name.

        Raises:
            InputError: the model was built without identities.
        """
        criterion = self.criterion
        if criterion is None:
            raise InputError(
                "face: this model was built without identities and only embeds; to train it, build it with classes= or num_classes="
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            return {f"loss_{self.loss_name}": criterion(embeddings, targets.to(embeddings.device))}


class EmbeddingHead(IdentityHead, PooledHead):
    """Global average of the deepest level, one linear layer, batch-norm (dlib's network goes without), unit length."""

    def __init__(self, channels: int, num_identities: int, options: FaceOptions) -> None:
        """Build the layers.

        Args:
            channels: of the trunk's deepest level.
            num_identities: people in the training data; 0 for a model that only embeds.
            options: neck, dropout, embedding size, distance and loss.
        """
        super().__init__(num_identities, options := options.settled())
        assert options.embedding_size is not None
        self.dropout = options.dropout
        # no bias: the batch-norm behind it would take it away again
        self.fc = nn.Linear(channels, options.embedding_size, bias=False)
        epsilon = _FACENET_EPSILON if options.neck == "facenet" else 1e-5
        self.norm = nn.Identity() if options.neck == "dlib" else nn.BatchNorm1d(options.embedding_size, epsilon)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return embeddings [B, D] of unit length, or raw, float32 whatever the precision of the trunk.

        Raises:
            InputError: a single picture in training mode, which batch-norm has no statistics for.
        """
        _check_batch(self.norm, pooled)
        # bf16 has 8 bits of precision: too few for lengths of 1 and for the small angles that tell faces apart
        with torch.autocast(pooled.device.type, enabled=False):
            return self.finished(self.norm(self.fc(F.dropout(pooled, self.dropout or 0.0, self.training))))

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the loss with identities [B] int64.

        Raises:
            InputError: the model was built without identities.
        """
        return self.identity_loss(self.answer(pooled), targets)


class FlatEmbeddingHead(IdentityHead):
    """Batch-norm of the deepest level, dropout, one linear layer over all its places, batch-norm whose factors stay 1, unit length.

    The "E" output of Deng et al. 2019 (arXiv 1801.07698, section 3.2.1) as InsightFace's arcface_torch has it. Places keep their own
    weights, which suits faces that are aligned, and takes pictures of one size.
    """

    def __init__(self, spec: HeadSpec) -> None:
        """Build the layers, from the trunk's levels, the size of the pictures and settled options."""
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
        """Refuse pictures of another size.

        Raises:
            InputError: naming both.
        """
        assert self.fixed_hw is not None
        if batch.pixels.shape[2:] != self.fixed_hw:
            raise InputError(
                f"face: this model embeds pictures of {self.fixed_hw[0]}×{self.fixed_hw[1]} pixels alone (its neck is 'flat'), "
                f"not of {batch.pixels.shape[2]}×{batch.pixels.shape[3]}"
            )

    def tensors(self, features: Features) -> Tensors:
        """Return embeddings [B, D], float32 whatever the precision of the trunk.

        Raises:
            InputError: a single picture in training mode.
        """
        deepest = features[next(reversed(features))].float()
        _check_batch(self.norm, deepest)
        with torch.autocast(deepest.device.type, enabled=False):
            return (self.finished(self.norm(self.fc(self.dropout(self.bn(deepest)).flatten(1)))),)

    def answered(self, tensors: Tensors, batch: ImageBatch) -> Tensor:
        """Return the embeddings."""
        return tensors[0]

    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return the loss with identities [B] int64.

        Raises:
            InputError: the model was built without identities.
        """
        return self.identity_loss(self(features, batch), targets)


def make_head(spec: HeadSpec) -> IdentityHead:
    """Build the head that the options' neck names."""
    if spec.options.neck == "flat":
        return FlatEmbeddingHead(spec)
    return EmbeddingHead(spec.levels[-1].channels, spec.num_classes, spec.options)


def _check_batch(norm: nn.Module, rows: Tensor) -> None:
    if norm.training and isinstance(norm, nn.BatchNorm1d) and len(rows) < 2:
        raise InputError("face: a batch of one picture can't be trained on (batch-norm); give 2 or more, or call model.eval() first")
