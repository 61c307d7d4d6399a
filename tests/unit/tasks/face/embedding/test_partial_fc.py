"""Margin losses over a sample of the identities, compared with the library's full losses."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from torch import Tensor
from torch.nn import functional as F

from zoo.tasks.face.embedding.losses import SampledArcFaceLoss, SampledCentres, SampledCosFaceLoss

PAIRS = [(SampledArcFaceLoss, ArcFaceLoss, 17.0), (SampledCosFaceLoss, CosFaceLoss, 0.2)]
IDENTITIES = torch.tensor([3, 17, 3, 40])


def sampled(rate: float, identities: int = 50) -> SampledCentres:
    torch.manual_seed(4)
    return SampledArcFaceLoss(identities, 8, rate, margin=17.0, scale=16.0)


def embeddings(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 8, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()


def loss_and_gradients(head: torch.nn.Module, dtype: torch.dtype) -> list[Tensor]:
    given = embeddings(dtype)
    loss = head(given, IDENTITIES)
    (centres,) = head.parameters()
    return [loss, *torch.autograd.grad(loss, [given, centres])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("kind", "library", "margin"), PAIRS)
def test_with_all_identities_it_is_the_full_head(
    kind: type[SampledCentres], library: type[ArcFaceLoss], margin: float, training: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(4)
    ours = kind(50, 8, 1.0, margin=margin, scale=16.0)
    torch.manual_seed(4)
    full = library(50, 8, margin=margin, scale=16.0)
    assert torch.equal(ours.W, full.W), "the initial centres are the same, too"
    for mine, theirs in zip(
        loss_and_gradients(ours.train(training).to(dtype), dtype), loss_and_gradients(full.to(dtype), dtype), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)


def test_a_step_is_the_full_loss_over_what_was_drawn() -> None:
    head = sampled(0.2)
    torch.manual_seed(7)
    chosen, places = head.draw(IDENTITIES)
    assert len(chosen) == 10
    assert torch.equal(chosen[places], IDENTITIES)
    full = ArcFaceLoss(10, 8, margin=17.0, scale=16.0)
    full.W = torch.nn.Parameter(head.W.detach()[:, chosen])
    torch.manual_seed(7)
    given = embeddings()
    loss, expected = head(given, IDENTITIES), full(given, places)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, [head.W])
    (drawn,) = torch.autograd.grad(expected, [full.W])
    torch.testing.assert_close(gradient[:, chosen], drawn)
    others = torch.ones(50, dtype=torch.bool)
    others[chosen] = False
    assert not gradient[:, others].any()


def test_the_batchs_own_identities_are_always_drawn_and_the_others_evenly() -> None:
    head, draws = sampled(0.2), 4000
    torch.manual_seed(0)
    counts = torch.zeros(50)
    for _ in range(draws):
        chosen, places = head.draw(IDENTITIES)
        assert len(set(chosen.tolist())) == len(chosen) == 10
        assert torch.equal(chosen[places], IDENTITIES)
        counts[chosen] += 1
    own = [3, 17, 40]
    assert (counts[own] == draws).all()
    others = torch.ones(50, dtype=torch.bool)
    others[own] = False
    expected = 7 / 47  # 10 places minus 3 for the batch, over the 47 other identities
    spread = (expected * (1 - expected) / draws) ** 0.5
    assert float((counts[others] / draws - expected).abs().max()) < 4.5 * spread


def test_positives_are_not_biased() -> None:
    """The target logit is exact whatever is drawn; the sum over the negatives is, on average, the expected share of the full sum."""
    head = sampled(0.2).double()
    given = embeddings(torch.float64).detach()
    cosine = F.normalize(given) @ F.normalize(head.W.detach(), dim=0)
    own = F.one_hot(IDENTITIES, 50).bool()
    mass = (16 * cosine).exp().masked_fill(own, 0)
    torch.manual_seed(0)
    drawn = torch.stack([_negative_mass(head, mass) for _ in range(4000)])
    # other identities of the batch are always included; the rest is a sample of 7 out of 47
    batch = torch.zeros(50, dtype=torch.bool)
    batch[IDENTITIES] = True
    expected = mass[:, batch].sum(1) + mass[:, ~batch].sum(1) * 7 / 47
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0.05, atol=0)


def _negative_mass(head: SampledCentres, mass: Tensor) -> Tensor:
    chosen, _ = head.draw(IDENTITIES)
    return mass[:, chosen].sum(1)


def test_a_batch_of_more_identities_than_are_drawn_keeps_all_of_its_own() -> None:
    head = sampled(0.02)
    assert head.drawn == 2  # a softmax over a single identity would always be right
    chosen, places = head.draw(IDENTITIES)
    assert chosen.tolist() == [3, 17, 40]
    assert places.tolist() == [0, 1, 0, 2]


def test_two_are_drawn_at_least_and_never_more_than_there_are() -> None:
    assert sampled(0.001).drawn == 2
    assert sampled(0.5, identities=1).drawn == 1
    assert sampled(0.5).drawn == 25


def test_evaluation_compares_with_everybody_and_draws_nothing() -> None:
    head, given = sampled(0.1), embeddings()
    before = torch.get_rng_state()
    head.eval()
    torch.testing.assert_close(head(given, IDENTITIES), sampled(1.0)(given, IDENTITIES))
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_come_from_the_global_generator() -> None:
    head = sampled(0.1).train()
    torch.manual_seed(11)
    first, second = head.draw(IDENTITIES)[0], head.draw(IDENTITIES)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(11)
    assert torch.equal(head.draw(IDENTITIES)[0], first)


def test_centres_lie_side_by_side_in_memory_and_so_do_their_gradients() -> None:
    head = sampled(0.1)
    assert head.W.shape == (8, 50)
    assert head.W.t().is_contiguous()
    torch.autograd.backward(head(embeddings(), IDENTITIES))
    assert head.W.grad is not None
    assert head.W.grad.t().is_contiguous()
