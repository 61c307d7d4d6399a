"""Pooled features to a unit-length embedding, and the ArcFace loss over the identities of the training data."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import InputError
from zoo.pooling import PooledHead
from zoo.task import Losses
from zoo.tasks.face.options import FaceOptions


class EmbeddingHead(PooledHead):
    """Global average of the deepest level, one linear layer, batch-norm, unit length.

    The class centres of ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 3) are part of the head, so that training can be
    resumed; embeddings don't depend on them. A head without identities only embeds.
    """

    class_dependent: ClassVar[tuple[str, ...]] = ("arcface.",)

    def __init__(self, channels: int, num_identities: int, options: FaceOptions) -> None:
        """Build the layers.

        Args:
            channels: of the trunk's deepest level.
            num_identities: people in the training data; 0 for a model that only embeds.
            options: embedding size, margin and scale.
        """
        super().__init__()
        # no bias: the batch-norm behind it would take it away again
        self.fc = nn.Linear(channels, options.embedding_size, bias=False)
        self.norm = nn.BatchNorm1d(options.embedding_size)
        self.arcface: nn.Module | None = None
        if num_identities:
            from pytorch_metric_learning.losses import ArcFaceLoss  # takes a second to import

            self.arcface = ArcFaceLoss(num_identities, options.embedding_size, margin=math.degrees(options.margin), scale=options.scale)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return embeddings [B, D] of unit length, float32 whatever the precision of the trunk.

        Raises:
            InputError: a single picture in training mode, which batch-norm has no statistics for.
        """
        if self.norm.training and len(pooled) < 2:
            raise InputError("face: a batch of one picture can't be trained on (batch-norm); give 2 or more, or call model.eval() first")
        # bf16 has 8 bits of precision: too few for lengths of 1 and for the small angles that tell faces apart
        with torch.autocast(pooled.device.type, enabled=False):
            return F.normalize(self.norm(self.fc(pooled)), dim=1)

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the ArcFace loss with identities [B] int64.

        Raises:
            InputError: the model was built without identities.
        """
        if self.arcface is None:
            raise InputError(
                "face: this model was built without identities and only embeds; to train it, build it with classes= or num_classes="
            )
        embeddings = self.answer(pooled)
        with torch.autocast(embeddings.device.type, enabled=False):
            return {"loss_arcface": self.arcface(embeddings, targets.to(embeddings.device))}
