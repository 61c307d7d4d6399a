"""The embedding losses against their formulas in float64, and the options of the losses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo.errors import InputError, UnknownNameError
from zoo.task.contract import get_task
from zoo.tasks.face.embedding.losses import HardTriplets, make_loss
from zoo.tasks.face.embedding.options import MARGINS, FaceOptions, LossName

IDENTITIES = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])


def embeddings(count: int = 8, size: int = 6, seed: int = 0) -> Tensor:
    drawn = torch.randn(count, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=1).requires_grad_()


def loss_of(**options: Any) -> nn.Module:
    torch.manual_seed(2)
    return make_loss(5, FaceOptions(embedding_size=6, **options)).double()


def gradients(loss: Tensor, *wanted: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_margin_losses_are_those_of_the_papers(name: LossName, margin: float) -> None:
    criterion, given = loss_of(loss=name, margin=margin, scale=20.0), embeddings()
    centres = next(criterion.parameters())
    cosine = given @ F.normalize(centres, dim=0)
    own = F.one_hot(IDENTITIES, 5).bool()
    # Deng et al. 2019, equation 3; Wang et al. 2018, equation 4
    with_margin = torch.cos(torch.acos(cosine) + margin) if name == "arcface" else cosine - margin
    logits = 20 * torch.where(own, with_margin, cosine)
    expected = (logits.logsumexp(1) - logits[own]).mean()
    loss = criterion(given, IDENTITIES)
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-10)
    for ours, theirs in zip(gradients(loss, given, centres), gradients(expected, given, centres), strict=True):
        # the library normalises the unit-length embeddings again, which changes the gradient only along the embedding
        torch.testing.assert_close(across(given, ours), across(given, theirs), atol=1e-9, rtol=1e-9)


def across(given: Tensor, gradient: Tensor) -> Tensor:
    """Return the component of a gradient orthogonal to unit-length rows; for tensors of another shape, the gradient itself."""
    return gradient - (gradient * given).sum(1, keepdim=True) * given if gradient.shape == given.shape else gradient


def test_triplets_are_the_hardest_of_the_batch() -> None:
    given, margin = embeddings(seed=1), 0.4
    distances = (given[:, None] - given[None]).norm(dim=2)
    violations = []
    for anchor, identity in enumerate(IDENTITIES.tolist()):
        same = [place for place, other in enumerate(IDENTITIES.tolist()) if other == identity and place != anchor]
        others = [place for place, other in enumerate(IDENTITIES.tolist()) if other != identity]
        if same:  # the eighth image is the only one of its person: no anchor, but a negative for others
            violations.append(distances[anchor, same].max() - distances[anchor, others].min() + margin)
    assert len(violations) == 7
    expected = torch.stack([violation for violation in violations if violation > 0]).mean()
    loss = HardTriplets(margin)(given, IDENTITIES)
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-10)
    (ours,), (theirs,) = gradients(loss, given), gradients(expected, given)
    assert theirs[7].any(), "the single image is the hardest negative of some anchor"
    torch.testing.assert_close(across(given, ours), across(given, theirs), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("identities", [[0, 1, 2, 3], [1, 1, 1, 1]])
def test_a_batch_without_triplets_teaches_nothing(identities: list[int]) -> None:
    given = embeddings(4)
    loss = HardTriplets(0.3)(given, torch.tensor(identities))
    assert float(loss.detach()) == 0
    assert not gradients(loss, given)[0].any()


def test_equal_embeddings_have_finite_gradients() -> None:
    given = F.normalize(torch.ones(4, 6), dim=1).requires_grad_()
    loss = HardTriplets(0.3)(given, torch.tensor([0, 0, 1, 1]))
    assert float(loss.detach()) == pytest.approx(0.3)
    assert gradients(loss, given)[0].isfinite().all()


@pytest.mark.parametrize(("loss", "margin"), [("arcface", 0.2), ("cosface", 0.1), ("triplet", 0.3)])
def test_the_margin_of_a_loss_by_default(loss: LossName, margin: float) -> None:
    assert FaceOptions(loss=loss).used_margin == MARGINS[loss].default == margin
    assert FaceOptions(loss=loss, margin=0.05).used_margin == 0.05


def test_the_default_margin_reaches_the_loss() -> None:
    assert float(loss_of(loss="arcface").margin) == pytest.approx(0.2)  # type: ignore[arg-type]
    assert loss_of(loss="cosface").margin == pytest.approx(0.1)
    triplets = loss_of(loss="triplet")
    assert isinstance(triplets, HardTriplets)
    assert triplets.triplets.margin == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"margin": math.pi / 2}, r"expected an angle in radians in \[0, 1.57\) for the loss arcface"),
        ({"loss": "cosface", "margin": 1.2}, r"margin is 1.2; expected a difference of cosines in \[0, 1.00\)"),
        ({"loss": "triplet", "margin": -0.1}, r"margin is -0.1; expected a difference of distances .* in \[0, 2.00\)"),
        ({"sample_rate": 0.0}, "sample_rate is 0.0; expected a fraction of the identities, above 0 and up to 1"),
        ({"sample_rate": 1.5}, "sample_rate is 1.5"),
        ({"loss": "triplet", "sample_rate": 0.5}, "triplet has no identity centres to sample"),
    ],
)
def test_losses_that_can_not_be_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_task("face").parse_options(values)


def test_an_unknown_loss_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown loss of face: 'cosfase'\. Nearest: cosface"):
        get_task("face").parse_options({"loss": "cosfase"})


def built(**options: Any) -> zoo.Model:
    torch.manual_seed(0)
    return zoo.build("test_resnet", "face", num_classes=3, image_size=32, embedding_size=8, **options)


CENTRES: dict[str, set[str]] = {"arcface": {"heads.face.arcface.W"}, "cosface": {"heads.face.cosface.W"}, "triplet": set()}


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
@pytest.mark.parametrize("loss", CENTRES)
def test_models_of_every_loss_are_saved_and_embed_again(loss: str, sample_rate: float, tmp_path: Path) -> None:
    model = built(loss=loss, sample_rate=1.0 if loss == "triplet" else sample_rate)
    keys = set(model.state_dict())
    assert keys - set(built(loss="triplet").state_dict()) == CENTRES[loss]
    again = zoo.load(zoo.save(model, tmp_path / "m"))
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(pictures), model(pictures))
    assert list(again(pictures, torch.tensor([0, 1]))) == [f"loss_{loss}"]


def test_models_saved_before_there_was_a_choice_load(tmp_path: Path) -> None:
    """Their model.json has a margin and a scale, but no loss, sample rate, neck, dropout, alignment or distance."""
    model = built(margin=0.25)
    folder = zoo.save(model, tmp_path / "m")
    content = json.loads((folder / "model.json").read_text())
    assert content["options"].pop("loss") == "arcface"
    assert content["options"].pop("sample_rate") == 1
    later = {name: content["options"].pop(name) for name in ("neck", "dropout", "alignment", "distance")}
    assert later == {"neck": "mean", "dropout": 0.0, "alignment": "none", "distance": "cosine"}
    assert content["preprocess"].pop("alignment") is None
    assert content["options"] == {"embedding_size": 8, "image_size": 32, "margin": 0.25, "scale": 16.0}
    (folder / "model.json").write_text(json.dumps(content))
    again = zoo.load(folder)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    targets, pictures = torch.tensor([0, 2]), torch.rand(2, 3, 32, 32)
    assert torch.equal(again(pictures, targets)["loss_arcface"], model(pictures, targets)["loss_arcface"])


def test_a_full_head_and_a_sampling_one_take_each_others_centres(tmp_path: Path) -> None:
    full = built()
    folder = zoo.save(full, tmp_path / "m")
    said: list[str] = []
    sampled = zoo.build("test_resnet", "face", weights=folder, sample_rate=0.7, say=said.append)
    assert torch.equal(sampled.state_dict()["heads.face.arcface.W"], full.state_dict()["heads.face.arcface.W"])
    assert said == []


def test_another_loss_starts_with_fresh_centres_and_says_so(tmp_path: Path) -> None:
    folder = zoo.save(built(), tmp_path / "m")
    said: list[str] = []
    model = zoo.build("test_resnet", "face", weights=folder, loss="cosface", say=said.append)
    assert "newly initialised: arcface.W, cosface.W" in said[0]
    assert set(model.state_dict()) - set(built(loss="triplet").state_dict()) == CENTRES["cosface"]
