"""Losses for training embeddings; imported lazily, because importing pytorch-metric-learning takes a second."""

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
    """Triplet loss with batch-hard mining: the farthest image of the same person, the nearest of another (Hermans et al. 2017).

    The loss is the mean over the triplets that violate the margin. An image without another one of its person in the batch is no anchor
    and serves only as a negative. A batch with one person, or with no two images of one person, has loss 0. With several processes, each
    mines triplets within its share of the batch. An identity with one image in the data is paired with differently augmented copies of it
    (see `IdentityBatches`).
    """

    def __init__(self, margin: float) -> None:
        """Set the margin, a difference of distances between points of the unit sphere."""
        super().__init__()
        self.miner = BatchHardMiner()
        self.triplets = TripletMarginLoss(margin=margin)

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the loss of embeddings [B, D] with identities [B]."""
        loss: Tensor = self.triplets(embeddings, identities, self.miner(embeddings, identities))
        return loss


def make_loss(num_identities: int, options: FaceOptions) -> nn.Module:
    """Build the loss, a module from embeddings [B, D] and identities [B] to a scalar, for one or more identities."""
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
    """Margin softmax over the batch's identities and a random sample of the others, drawn uniformly at every training step.

    The logits of a step, the normalised centres and their gradients take a fraction `sample_rate` of the full head's memory. As in the
    paper (2203.15565, section 3.1), the softmax runs over the drawn identities without a correction: the positive term is exact, the sum
    over the negatives covers only the sample. In evaluation mode the loss is over all identities, and no random numbers are drawn.

    The gradient of the centres is dense, with zeros for identities not drawn, so that optimisers, clipping, averaging over processes and
    checkpoints work as for any other parameter. The costs of a dense gradient grow with the number of all identities: memory for the
    gradient and for the optimiser's averages (1 + 2 times the centres with AdamW), and the time of the optimiser step;
    `python -m zoo.benchmarks.partial_fc` measures both. AdamW also keeps moving a centre that was not drawn along its earlier gradients.

    The random numbers come from torch's global CPU generator, whose state is part of a checkpoint, so a resumed run draws the same
    identities. With several processes, each adds the identities of its share of the batch to its sample; with a sample rate below 1 the
    loss is therefore not exactly that of one process with the whole batch.

    `W` has the library's name and shape [D, identities], so that weights can be exchanged with a full head; its memory layout is one
    contiguous row per centre, which makes it fast to gather centres.
    """

    def __init__(self, num_identities: int, embedding_size: int, sample_rate: float, **settings: Any) -> None:
        """Initialise the centres as the full head does, from the same random numbers; `settings` are margin and scale."""
        super().__init__(num_identities, embedding_size, **settings)
        drawn: Tensor = self.W.detach()
        self.W: nn.Parameter = nn.Parameter(drawn.t().contiguous().t())
        # at least 2: a softmax over one identity is always right
        self.drawn = min(num_identities, max(2, round(sample_rate * num_identities)))

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the mean loss of embeddings [B, D] with identities [B]."""
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
        """Draw the identities of a step: those of the batch [B], and others with equal probability.

        Returns the chosen identities [C] in ascending order, where C is `drawn` or, if larger, the number of identities in the batch; and
        the indices [B] of the batch's identities among them.
        """
        order = torch.rand(self.num_classes)
        order[identities.cpu()] = 2.0  # ahead of all others, whose values are below 1
        own = int((order == 2.0).sum())
        chosen = order.topk(max(self.drawn, own), sorted=False).indices.sort().values.to(identities.device)
        return chosen, torch.searchsorted(chosen, identities)


class SampledArcFaceLoss(SampledCentres, ArcFaceLoss):  # type: ignore[misc]  # an untyped library
    """ArcFace over a sample of the identities; the margin is in degrees, as in the library's `ArcFaceLoss`."""


class SampledCosFaceLoss(SampledCentres, CosFaceLoss):  # type: ignore[misc]  # an untyped library
    """CosFace over a sample of the identities."""
