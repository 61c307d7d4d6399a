"""Losses for training embeddings. This module is imported lazily, because importing pytorch-metric-learning takes a second."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, TripletMarginLoss
from pytorch_metric_learning.losses.large_margin_softmax_loss import LargeMarginSoftmaxLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.tasks.face.embedding.options import FaceOptions


class HardTriplets(nn.Module):
    """Triplet loss with batch-hard mining (Hermans et al. 2017).

    The triplet of an anchor consists of the farthest image of the same person and the nearest image of another person. The loss is the mean
    over the triplets that violate the margin. An image whose person has no other image in the batch is not an anchor, but can be a
    negative. The loss is 0 if the batch shows only one person, or no person twice. With several processes, each one mines triplets within
    its section of the batch. A person with a single image in the dataset is paired with differently augmented copies of that image (see
    `IdentityBatches`).
    """

    def __init__(self, margin: float) -> None:
        """Set the margin: a difference between Euclidean distances of unit-length embeddings."""
        super().__init__()
        self.miner = BatchHardMiner()
        self.triplets = TripletMarginLoss(margin=margin)

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the loss for embeddings [B, D] and identity labels [B]."""
        loss: Tensor = self.triplets(embeddings, identities, self.miner(embeddings, identities))
        return loss


def make_loss(num_identities: int, options: FaceOptions) -> nn.Module:
    """Build the loss for one or more identities: a module that maps embeddings [B, D] and identities [B] to a scalar."""
    if options.loss == "triplet":
        return HardTriplets(options.used_margin)
    size = options.settled().embedding_size
    assert size is not None
    cosface = options.loss == "cosface"
    settings = {"margin": options.used_margin if cosface else math.degrees(options.used_margin), "scale": options.scale}
    if options.sample_rate < 1:
        sampled = SampledCosFaceLoss if cosface else SampledArcFaceLoss
        return sampled(num_identities, size, options.sample_rate, **settings)
    loss: nn.Module = (CosFaceLoss if cosface else ArcFaceLoss)(num_identities, size, **settings)
    return loss


class SampledCentres(LargeMarginSoftmaxLoss):  # type: ignore[misc]  # an untyped library
    """Margin softmax over the batch's identities and a uniform random sample of the others (Partial FC, arXiv 2203.15565).

    A new sample is drawn at every training step. The logits, the normalised centres and their gradients need a fraction `sample_rate` of
    the full head's memory. As in section 3.1 of the paper, the softmax runs over the drawn identities without a correction. In evaluation
    mode, the loss is computed over all identities, and no random numbers are drawn.

    The gradient of the centres is dense, with zeros for identities that were not drawn, so optimisers, clipping, averaging over processes
    and checkpoints work as for any other parameter. Its memory (with AdamW, three times the size of the centres) and the time of the
    optimiser step grow with the number of all identities; see `zoo.benchmarks.partial_fc`. AdamW also moves centres that were not drawn.

    The random numbers come from torch's global CPU generator. Its state is part of a checkpoint, so a resumed run draws the same
    identities. With several processes, each one adds the identities of its section of the batch to its sample, so the loss differs from
    that of a single process with the whole batch.

    `W` has the library's name and shape [D, identities], so weights can be exchanged with a full head. In memory, each centre is one
    contiguous row, which makes gathering centres fast.
    """

    def __init__(self, num_identities: int, embedding_size: int, sample_rate: float, **settings: Any) -> None:
        """Initialise the centres from the same random numbers as the full head. `settings` are the margin and the scale."""
        super().__init__(num_identities, embedding_size, **settings)
        drawn: Tensor = self.W.detach()
        self.W: nn.Parameter = nn.Parameter(drawn.t().contiguous().t())
        # at least 2, because the softmax over one identity is always 1
        self.drawn = min(num_identities, max(2, round(sample_rate * num_identities)))

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the mean loss for embeddings [B, D] and identity labels [B]."""
        centres = self.W.t()  # [identities, D], contiguous
        if self.training and self.drawn < self.num_classes:
            chosen, identities = self.draw(identities)
            centres = F.embedding(chosen, centres)
        cosine = F.linear(F.normalize(embeddings), F.normalize(centres))  # [B, drawn]
        own = identities[:, None]
        own_with_margin = self.modify_cosine_of_target_classes(cosine.gather(1, own))
        logits = self.scale_logits(cosine.scatter(1, own, own_with_margin), embeddings)
        return F.cross_entropy(logits, identities)

    def draw(self, identities: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the identities for one step: all identities in the batch [B], and a uniform random sample of the others.

        Returns:
            Drawn identities [C] in ascending order, and the index [B] of each image's identity among them.
        """
        order = torch.rand(self.num_classes)
        order[identities.cpu()] = 2.0  # greater than the random values of all others, so that they are always drawn
        own = int((order == 2.0).sum())
        chosen = order.topk(max(self.drawn, own), sorted=False).indices.sort().values.to(identities.device)
        return chosen, torch.searchsorted(chosen, identities)


class SampledArcFaceLoss(SampledCentres, ArcFaceLoss):  # type: ignore[misc]  # an untyped library
    """ArcFace loss over a sample of the identities. The margin is in degrees, as in the library's `ArcFaceLoss`."""


class SampledCosFaceLoss(SampledCentres, CosFaceLoss):  # type: ignore[misc]  # an untyped library
    """CosFace loss over a sample of the identities."""
