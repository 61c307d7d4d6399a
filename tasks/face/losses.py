"""The losses that embeddings are trained with; pytorch-metric-learning takes a second to import, so this is imported late."""

from __future__ import annotations

import math

from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, nn

from zoo.tasks.face.options import FaceOptions
from zoo.tasks.face.partial_fc import SampledArcFaceLoss, SampledCosFaceLoss


class HardTriplets(nn.Module):
    """Each picture of the batch with its farthest picture of the same person and its nearest of another (Hermans et al. 2017).

    The loss is the mean over the triplets that violate the margin. A picture without another one of its person in the batch is
    no anchor, and is compared with as another person's only; a batch without two people, or without two pictures of one, teaches
    nothing (loss 0). Of several processes each compares the pictures of its own share. An identity with one picture in the data
    comes with itself, augmented in other ways (see `IdentityBatches`).
    """

    def __init__(self, margin: float) -> None:
        """Take the margin, a difference of distances between points of the unit sphere."""
        super().__init__()
        self.miner = BatchHardMiner()
        self.triplets = TripletMarginLoss(margin=margin)

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the loss of embeddings [B, D] of identities [B]."""
        loss: Tensor = self.triplets(embeddings, identities, self.miner(embeddings, identities))
        return loss


def make_loss(num_identities: int, options: FaceOptions) -> nn.Module:
    """Build the loss that the options name: a module from embeddings [B, D] and identities [B] to a scalar.

    Args:
        num_identities: people in the training data, above 0.
        options: loss, margin, scale and sample rate.
    """
    if options.loss == "triplet":
        return HardTriplets(options.used_margin)
    size, sampled = options.settled().embedding_size, options.sample_rate < 1
    assert size is not None
    if options.loss == "cosface":
        settings = {"margin": options.used_margin, "scale": options.scale}
        return (
            SampledCosFaceLoss(num_identities, size, options.sample_rate, **settings)
            if sampled
            else CosFaceLoss(num_identities, size, **settings)
        )
    settings = {"margin": math.degrees(options.used_margin), "scale": options.scale}
    return (
        SampledArcFaceLoss(num_identities, size, options.sample_rate, **settings)
        if sampled
        else ArcFaceLoss(num_identities, size, **settings)
    )
