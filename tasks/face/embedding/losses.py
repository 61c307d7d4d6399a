"""The losses that embeddings are trained with; pytorch-metric-learning takes a second to import, so this is imported late."""

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


class SampledCentres(LargeMarginSoftmaxLoss):  # type: ignore[misc]  # an untyped library
    """A margin softmax over the batch's own identities and so many others, drawn evenly at every training step.

    A step's logits, and the normalised centres and their gradients, are a `sample_rate` of what the full head needs. As in the paper
    (2203.15565, section 3.1) the softmax is over what was drawn, without a correction: the positive term is exact, the sum over the
    negatives is of a sample of them. In evaluation mode the loss is that of all identities, and no random numbers are drawn.

    The gradient of the centres is dense, zero where nothing was drawn, so that every optimiser, clipping, averaging over processes
    and the checkpoints work as for any other parameter. What that costs goes with all identities, not with the drawn ones: memory
    for the gradient and for the optimiser's averages (1 + 2 times the centres with AdamW), and the time of the optimiser's pass over
    them; `python -m zoo.benchmarks.partial_fc` measures both. AdamW also moves a centre that was not drawn a little further, along
    its earlier gradients.

    The random numbers are those of torch's global generator on the CPU, which a checkpoint holds: a resumed run draws the same.
    Of several processes each adds its own batch's identities to what it draws, so that with a sample rate below 1 the loss is not
    exactly that of one process with the whole batch.

    `W` has the library's name and shape [D, identities], so that weights may come from a full head and go to one; in memory
    a centre's numbers lie side by side, as drawing whole centres wants it.
    """

    def __init__(self, num_identities: int, embedding_size: int, sample_rate: float, **settings: Any) -> None:
        """Build the centres as the full head does, from the same random numbers.

        Args:
            num_identities: people in the training data.
            embedding_size: numbers per embedding.
            sample_rate: the part of the identities that a step compares with, above 0 and at most 1.
            settings: margin and scale, of the library's loss.
        """
        super().__init__(num_identities, embedding_size, **settings)
        drawn: Tensor = self.W.detach()
        self.W: nn.Parameter = nn.Parameter(drawn.t().contiguous().t())
        # a softmax over one identity is always right
        self.drawn = min(num_identities, max(2, round(sample_rate * num_identities)))

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Return the mean loss of embeddings [B, D] of identities [B]."""
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
        """Draw the identities that a batch is compared with: its own, and others, each of them as likely.

        Args:
            identities: [B].

        Returns:
            The chosen ones, ascending [C], C being `drawn` or, where the batch itself has more, those; and at which place of
            them the batch's identities stand [B].
        """
        order = torch.rand(self.num_classes)
        order[identities.cpu()] = 2.0  # before all others, which have numbers below 1
        own = int((order == 2.0).sum())
        chosen = order.topk(max(self.drawn, own), sorted=False).indices.sort().values.to(identities.device)
        return chosen, torch.searchsorted(chosen, identities)


class SampledArcFaceLoss(SampledCentres, ArcFaceLoss):  # type: ignore[misc]  # an untyped library
    """ArcFace over a sample of the identities; the margin is in degrees, as in the library's `ArcFaceLoss`."""


class SampledCosFaceLoss(SampledCentres, CosFaceLoss):  # type: ignore[misc]  # an untyped library
    """CosFace over a sample of the identities."""
