"""Pooled features to a unit-length embedding, and the loss over the identities of the training data."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import InputError
from zoo.pooling import PooledHead
from zoo.task import Losses
from zoo.tasks.face.options import FaceOptions, LossName


class EmbeddingHead(PooledHead):
    """Global average of the deepest level, one linear layer, batch-norm, unit length.

    The loss is a module of the head under its own name ("arcface", "cosface" or "triplet"): the centres of identities that the first
    two learn are part of it, so that training can be resumed. Embeddings don't depend on them. A head without identities only embeds.
    """

    class_dependent: ClassVar[tuple[str, ...]] = tuple(f"{name}." for name in get_args(LossName))

    def __init__(self, channels: int, num_identities: int, options: FaceOptions) -> None:
        """Build the layers.

        Args:
            channels: of the trunk's deepest level.
            num_identities: people in the training data; 0 for a model that only embeds.
            options: embedding size and loss.
        """
        super().__init__()
        # no bias: the batch-norm behind it would take it away again
        self.fc = nn.Linear(channels, options.embedding_size, bias=False)
        self.norm = nn.BatchNorm1d(options.embedding_size)
        self.loss_name: str = options.loss
        if num_identities:
            from zoo.tasks.face.losses import make_loss  # takes a second to import

            self.add_module(options.loss, make_loss(num_identities, options))

    @property
    def criterion(self) -> nn.Module | None:
        """From embeddings [B, D] and identities [B] to the loss; None without identities."""
        return self._modules.get(self.loss_name)

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
        """Return the loss with identities [B] int64, as "loss_" and its name.

        Raises:
            InputError: the model was built without identities.
        """
        criterion = self.criterion
        if criterion is None:
            raise InputError(
                "face: this model was built without identities and only embeds; to train it, build it with classes= or num_classes="
            )
        embeddings = self.answer(pooled)
        with torch.autocast(embeddings.device.type, enabled=False):
            return {f"loss_{self.loss_name}": criterion(embeddings, targets.to(embeddings.device))}
