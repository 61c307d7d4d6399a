"""The embedding head, its ArcFace loss, and the options of both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import Level
from zoo.errors import InputError, UnknownNameError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.task.contract import get_task
from zoo.task.head import HeadSpec
from zoo.tasks.face.embedding.head import EmbeddingHead
from zoo.tasks.face.embedding.options import FaceOptions

OPTIONS = FaceOptions(embedding_size=16, margin=0.4, scale=20)


def batch(count: int) -> ImageBatch:
    return ImageBatch(torch.zeros(count, 3, 8, 8), ((8, 8),) * count, ((8, 8),) * count)


def features(count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"c4": torch.randn(count, 6, 4, 4, generator=generator), "c5": torch.randn(count, 12, 2, 2, generator=generator)}


def head(identities: int = 5) -> EmbeddingHead:
    torch.manual_seed(1)
    return EmbeddingHead(12, identities, OPTIONS)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_are_the_pooled_deepest_level_at_unit_length(training: bool) -> None:
    model = head().train(training)
    given = features(4)
    pooled = model.fc(given["c5"].mean((2, 3)))
    expected = F.normalize((pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt() if training else pooled, dim=1)
    embeddings = model(given, batch(4))
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(embeddings, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))


def test_embeddings_are_float32_under_autocast() -> None:
    model, given = head().eval(), {name: level.bfloat16() for name, level in features(4).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = model(given, batch(4))
        loss = model.loss(given, batch(4), torch.tensor([0, 1, 2, 3]))["loss_arcface"]
    assert embeddings.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_that_of_the_paper(training: bool) -> None:
    model, targets = head().train(training), torch.tensor([0, 4, 2, 0])
    assert isinstance(model.arcface, nn.Module)
    cosine = model(features(4), batch(4)) @ F.normalize(next(model.arcface.parameters()), dim=0)
    logits = cosine.clone()
    rows = torch.arange(4)
    logits[rows, targets] = torch.cos(torch.acos(cosine[rows, targets]) + 0.4)  # Deng et al. 2019, equation 3
    losses = model.loss(features(4), batch(4), targets)
    assert list(losses) == ["loss_arcface"]
    torch.testing.assert_close(losses["loss_arcface"], F.cross_entropy(20 * logits, targets))


def test_every_parameter_learns() -> None:
    model = head()
    torch.autograd.backward(model.loss(features(4), batch(4), torch.tensor([0, 1, 2, 3]))["loss_arcface"])
    assert {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()} == set()
    assert {name for name, _ in model.named_parameters() if name.startswith(EmbeddingHead.class_dependent)} == {"arcface.W"}


def test_one_picture_has_a_loss_in_evaluation_mode_only() -> None:
    model = head().eval()
    assert torch.isfinite(model.loss(features(1), batch(1), torch.tensor([2]))["loss_arcface"])
    with pytest.raises(InputError, match="the batch has one image, but batch norm needs 2 or more in training mode"):
        model.train().loss(features(1), batch(1), torch.tensor([2]))


def test_a_head_without_identities_only_embeds() -> None:
    model = head(0).eval()
    assert model(features(2), batch(2)).shape == (2, 16)
    assert not any(key.startswith("arcface") for key in model.state_dict())
    with pytest.raises(InputError, match="built without identities, so it can't be trained"):
        model.loss(features(2), batch(2), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"embedding_size": 1}, "embedding_size is 1; expected 2 or more"),
        ({"margin": 28.6}, r"margin is 28.6; expected an angle in radians in \[0, 1.57\)"),
    ],
)
def test_options_that_can_not_be_meant(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_task("face").parse_options(values)


def test_an_unknown_option_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"option of the task face: 'embeding'\. Nearest: embedding_size"):
        get_task("face").parse_options({"embeding": 128})


def test_the_task_builds_head_and_preprocessing_from_its_options() -> None:
    task = get_task("face")
    native = Preprocess(policy="crop", size_hw=(224, 224), antialias=False, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    prepare = task.building.preprocess(native, task.parse_options({"image_size": 64}))
    assert (prepare.policy, prepare.size_hw, prepare.antialias, prepare.mean, prepare.std) == (
        "squash",
        (64, 64),
        True,
        native.mean,
        native.std,
    )
    built = task.building.head(HeadSpec((Level("c4", 6, 16), Level("c5", 12, 32)), 3, OPTIONS, prepare))
    assert {name: list(value.shape) for name, value in built.named_parameters()} == {
        "fc.weight": [16, 12],
        "norm.weight": [16],
        "norm.bias": [16],
        "arcface.W": [16, 3],
    }
    assert task.building.metadata(OPTIONS) == {"distance": "cosine", "unit_length": True, "threshold": None}
