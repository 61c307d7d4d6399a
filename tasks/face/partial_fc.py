"""Margin losses that compare each batch with a part of the identities: Partial FC (An et al. 2021, arXiv 2010.05222; 2203.15565)."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from pytorch_metric_learning.losses.large_margin_softmax_loss import LargeMarginSoftmaxLoss
from torch import Tensor, nn
from torch.nn import functional as F


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
