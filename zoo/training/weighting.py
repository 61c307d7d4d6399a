"""Weights of the heads' losses: fixed numbers, or learned uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.task.joint import UNCERTAINTY, JointRecipe
from zoo.task.recipe import RunRecipe


class LossWeights(nn.Module):
    """Weights of the heads' losses.

    With learned weights, the loss of head h is exp(-s_h) L_h + s_h / 2, where the log-variance s_h is a parameter (Kendall et al. 2018,
    arXiv 1705.07115, equation 10, which the paper derives for classification; it is used for all heads here). L_h is the sum of the losses
    of the head.

    Attributes:
        log_variances: the learned log-variances s_h, initially 0, one for each of the `heads`; empty for fixed weights.
    """

    def __init__(self, recipe: RunRecipe, heads: Sequence[str], joint: bool) -> None:
        """Create the weights of a recipe for the trained heads. `joint` is whether losses are named `head/loss`."""
        super().__init__()
        learned = isinstance(recipe, JointRecipe) and recipe.loss_weights == UNCERTAINTY and joint
        self._joint, self._heads = joint, tuple(heads) if learned else ()
        self._fixed = recipe.fixed_weights if isinstance(recipe, JointRecipe) else {}
        self.log_variances = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in self._heads)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses of a batch."""
        if not self._joint:
            return _sum([*losses.values()])
        by_head: dict[str, list[Tensor]] = {}
        for name, value in losses.items():
            by_head.setdefault(name.partition("/")[0], []).append(value)
        return _sum([self._weighted(name, _sum(values)) for name, values in by_head.items()])

    def _weighted(self, head: str, loss: Tensor) -> Tensor:
        if head in self._heads:
            log_variance = self.log_variances[self._heads.index(head)]
            weighted: Tensor = torch.exp(-log_variance) * loss + log_variance / 2
            return weighted
        weight = self._fixed.get(head, 1.0)
        return loss if weight == 1 else weight * loss

    def learned(self) -> dict[str, float]:
        """Return the log-variances by head name; empty for fixed weights."""
        return {name: float(value.detach()) for name, value in zip(self._heads, self.log_variances, strict=True)}


def _sum(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]
